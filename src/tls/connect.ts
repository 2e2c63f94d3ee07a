// connect(): opens a TLS 1.3 connection, shows the own certificate and verifies the server's.

import { defaultProfileId, type Profile, profileById } from "../pqc/profiles.ts";
import { checkNoClock, checkNoTap, checkPort, checkPositive, defaultHandshakeTimeout } from "./checks.ts";
import { connectFrom, type TcpStream } from "./bound_connection.ts";
import { EngineClient } from "./engine/endpoint.ts";
import { EngineTrap } from "./engine/failures.ts";
import { instanceByClock } from "./engine/instance.ts";
import { certificatesFromPem } from "./engine/pem.ts";
import { engineOffer, factsOf, forget } from "./engine_link.ts";
import { EngineSocket, located } from "./engine_socket.ts";
import { EngineStream } from "./engine_stream.ts";
import { ConnectionFailed, HandshakeTimeout, NameMismatch, TlsError, toTlsError } from "./errors.ts";
import { connectNative } from "./native_connect.ts";
import type { ConnectOptions, Credentials, TlsConnection } from "./types.ts";

/**
 * Connects with mutual TLS 1.3. Connections with the same credentials object share their sessions: what comes back to a
 * server it has been at is spared the signatures.
 *
 * In TLS 1.3 the client is done before the server has looked at the client's certificate: a server that refuses it
 * ends the stream a moment later, and the stream's error has its alert.
 *
 * @throws {RangeError} when an option is out of range.
 * @throws {BadCredentials} when the credentials or the trusted certificates cannot be used.
 * @throws {TlsError} of the kind that fits when it does not come about; the signal's reason when that was aborted.
 */
export async function connect(options: ConnectOptions): Promise<TlsConnection> {
  const { hostname, port, localAddress, credentials, trust, signal } = options;
  const { serverName = hostname, timeout = defaultHandshakeTimeout } = options;
  const { profile = profileById(defaultProfileId) } = options;
  checkPort(port, 1);
  checkPositive("timeout", timeout);
  if (options.engine === "native") {
    checkNoTap(options.tap);
    checkNoClock(options.clock);
    return await connectNative(options);
  }
  signal?.throwIfAborted();
  const client = clientFor(credentials, trust, profile, options.clock);
  const where = `TLS connection to ${hostname}:${port}`;

  /** Why this end gave up, which counts more than what follows from it. */
  let givenUp: { reason: unknown } | undefined;
  const connecting = new AbortController();
  let socket: EngineSocket | undefined;
  const giveUp = (reason: unknown) => {
    givenUp ??= { reason };
    connecting.abort();
    socket?.close();
  };
  const aborted = () => giveUp(signal?.reason);
  signal?.addEventListener("abort", aborted, { once: true });
  const timer = setTimeout(
    () => giveUp(new HandshakeTimeout(`${where}: not made within ${timeout} ms`)),
    timeout,
  );
  try {
    const conn: TcpStream = localAddress === undefined
      ? await connectTcp(hostname, port, connecting.signal)
      : await connectFrom({ hostname, port, localAddress }, connecting.signal);
    try {
      // What was given up while the system still connected is closed below.
      connecting.signal.throwIfAborted();
      conn.setNoDelay(true);
      socket = new EngineSocket(conn, client.connect(serverName), undefined, options.tap);
    } catch (error) {
      conn.close();
      throw error;
    }
    const early: Uint8Array[] = [];
    await socket.handshake((plaintext) => early.push(plaintext));
    const facts = factsOf(socket, "server");
    return { ...facts, stream: new EngineStream(socket, early, where) };
  } catch (error) {
    socket?.leave();
    if (givenUp !== undefined) throw givenUp.reason;
    if (error instanceof EngineTrap) throw new EngineTrap(`${where}: ${error.message}`, { cause: error });
    if (error instanceof RangeError) throw error;
    if (error instanceof NameMismatch) {
      throw located(error, `${where}: expected a certificate for ${serverName}`);
    }
    throw error instanceof TlsError ? located(error, where) : toTlsError(error, where);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
  }
}

async function connectTcp(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  try {
    return await Deno.connect({ hostname, port, signal });
  } catch (cause) {
    throw new ConnectionFailed(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

interface KnownClient {
  readonly client: EngineClient;
  readonly chain: string;
  readonly key: string;
  readonly trust: string;
  readonly profile: Profile;
  readonly clock: (() => number) | undefined;
}

/** The engine's clients by the credentials that they show: they remember their sessions. */
const clients = new WeakMap<Credentials, KnownClient[]>();

/** What nobody has the credentials of any more is given back. */
const unused = new FinalizationRegistry<EngineClient>((client) => client.free());

function clientFor(
  credentials: Credentials,
  trust: string,
  profile: Profile,
  clock: (() => number) | undefined,
): EngineClient {
  const known = clients.get(credentials) ?? [];
  const { certificateChain: chain, privateKey: key } = credentials;
  const found = known.find((it) =>
    it.chain === chain && it.key === key && it.trust === trust && it.profile === profile &&
    it.clock === clock
  );
  if (found !== undefined) return found.client;
  const offer = engineOffer(profile, credentials);
  const client = new EngineClient(
    { offer, trust: certificatesFromPem("trust", trust) },
    clock && (() => instanceByClock(clock)),
  );
  forget([offer]);
  unused.register(credentials, client);
  clients.set(credentials, [...known, { client, chain, key, trust, profile, clock }]);
  return client;
}

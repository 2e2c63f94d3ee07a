// A real server for tests: real TLS on a loopback address, its own certificate authority, a temporary data folder with a copy of
// an empty database. Starting it takes seconds all the same, so a test file starts one and shares it among its steps.

import { join } from "node:path";
import type { Duplex } from "node:stream";
import { type IClientOptions, MqttClient } from "mqtt";
import { type Dispatcher, request } from "undici";
import { RestClient } from "../../src/contract/client.ts";
import type { Vci, VciEcu } from "../../src/contract/vehicles.ts";
import { createLogger } from "../../src/log.ts";
import { initAuthority, issueOperator, issueServer, issueVehicle } from "../../src/pqc/authority.ts";
import { loadCredentials, type LoadedCredentials } from "../../src/pqc/pki_directory.ts";
import { defaultProfileId, profileById } from "../../src/pqc/profiles.ts";
import { importSigningKey } from "../../src/pqc/signature.ts";
import { type RunningServer, type ServerOptions, startServer } from "../../src/server/mod.ts";
import { connect } from "../../src/tls/connect.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { prepareEmbedded } from "../support/embedded.ts";

export const vinA = "KMHTEST1AAA000001";
export const vinB = "KMHTEST1BBB000002";

export interface Caller {
  readonly rest: RestClient;
  readonly dispatcher: Dispatcher;
  readonly credentials: LoadedCredentials;
}

export interface TestServer extends AsyncDisposable {
  readonly directory: string;
  readonly pki: string;
  readonly origin: string;
  readonly server: RunningServer;
  /** Log lines so far. */
  readonly lines: string[];
  readonly vehicleA: Caller;
  readonly vehicleB: Caller;
  readonly operator: Caller;
  /** Stops the server and starts it again on the same data; ports change. */
  restart(): Promise<void>;
  /** Connects an MQTT client over this product's TLS. @param prepare sees the client before anything is received */
  mqtt(
    caller: Caller,
    options: IClientOptions,
    onMessage?: (payload: string) => void,
    prepare?: (client: MqttClient) => void,
  ): Promise<MqttClient>;
}

/** What differs of a server. */
export interface TestServerOptions extends Partial<ServerOptions> {
  /** With ECDSA certificates. Peers on an older OpenSSL need 0 among them. @default [2] */
  profiles?: readonly number[];
  /** A folder with an authority that is there already. @default one of its own */
  pki?: string;
}

/** Starts a server. @param hostname loopback address of the test file's own */
export async function startTestServer(
  hostname: string,
  { profiles = [defaultProfileId], pki: existing, ...overrides }: TestServerOptions = {},
): Promise<TestServer> {
  const directory = await Deno.makeTempDir({ prefix: "zonebench_server_" });
  const pki = existing ?? join(directory, "pki");
  await initAuthority({ directory: pki });
  await issueServer({ directory: pki, names: [hostname] });
  await issueOperator("bench", { directory: pki });
  for (const vin of [vinA, vinB]) await issueVehicle(vin, { directory: pki });
  const { trust, ...credentials } = await loadCredentials(pki, "server");
  const lines: string[] = [];
  const options: ServerOptions = {
    dataDirectory: join(directory, "data"),
    offers: profiles.map((id) => ({ profile: profileById(id), credentials })),
    trust,
    signingKey: await importSigningKey(await Deno.readTextFile(join(pki, "signing.key"))),
    log: createLogger({ write: (line) => lines.push(line), level: "debug", color: false }),
    ...overrides,
    https: { hostname, port: 0, ...overrides.https },
    mqtt: { hostname, port: 0, ...overrides.mqtt },
    local: { hostname, port: 0, ...overrides.local },
  };
  if (options.database?.url === undefined) {
    await prepareEmbedded(join(options.dataDirectory, "db"), "newest");
  }
  let server = await startServer(options);
  const agents: Dispatcher[] = [];
  const origin = () => `https://${hostname}:${server.https.port}`;
  const callerOf = async (name: string): Promise<Caller> => {
    const credentials = await loadCredentials(pki, name);
    const dispatcher = httpsAgent({ credentials, trust: credentials.trust, connections: 16 });
    agents.push(dispatcher);
    return {
      credentials,
      dispatcher,
      get rest() {
        return new RestClient({ origin: origin(), dispatcher });
      },
    };
  };
  const vehicleA = await callerOf(`vehicle-${vinA}`);
  const vehicleB = await callerOf(`vehicle-${vinB}`);
  const operator = await callerOf("operator-bench");
  return {
    directory,
    pki,
    get origin() {
      return origin();
    },
    get server() {
      return server;
    },
    lines,
    vehicleA,
    vehicleB,
    operator,
    async restart() {
      await server.stop();
      server = await startServer(options);
    },
    async mqtt(caller, mqttOptions, onMessage, prepare) {
      const { stream } = await connect({
        hostname,
        port: server.mqtt.port,
        credentials: caller.credentials,
        trust: caller.credentials.trust,
      });
      return await mqttOver(stream, mqttOptions, onMessage, prepare);
    },
    async [Symbol.asyncDispose]() {
      for (const agent of agents) await agent.destroy();
      await server.stop();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

/** An MQTT client on a stream; rejects with the broker's refusal. */
function mqttOver(
  stream: Duplex,
  options: IClientOptions,
  onMessage?: (payload: string) => void,
  prepare?: (client: MqttClient) => void,
): Promise<MqttClient> {
  // The stream stays half open when the broker ends its side: the client has nothing more to say then.
  stream.once("end", () => stream.destroy());
  const client = new MqttClient(() => stream, {
    reconnectPeriod: 0,
    keepalive: 30,
    protocolVersion: 4,
    ...options,
  });
  prepare?.(client);
  if (onMessage) client.on("message", (_topic, payload) => onMessage(payload.toString()));
  return new Promise((resolve, reject) => {
    client.once("connect", () => resolve(client));
    client.once("error", (error) => {
      client.end(true);
      reject(error);
    });
    client.once("close", () => reject(new Error("the broker closed the connection")));
  });
}

/** A request as it is, without the client's checks. */
export async function raw(
  server: TestServer,
  caller: Caller,
  method: string,
  path: string,
  options: { body?: string | Uint8Array; headers?: Record<string, string> } = {},
): Promise<
  { status: number; headers: Record<string, string | string[] | undefined>; text: string; json: unknown }
> {
  const response = await request(`${server.origin}${path}`, {
    method: method as Dispatcher.HttpMethod,
    dispatcher: caller.dispatcher,
    body: options.body,
    headers: options.headers,
  });
  const text = await response.body.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.statusCode, headers: response.headers, text, json };
}

/** An ECU of a report. */
export function ecu(ecu_id: string, sw_version: string, changes: Partial<VciEcu> = {}): VciEcu {
  return {
    ecu_id,
    ecu_type: "BODY_CONTROLLER",
    zonal_gateway_id: "ZG_BODY",
    sw_version,
    hw_version: "HW1",
    status: "ok",
    ...changes,
  };
}

/** A report of a vehicle. */
export function report(vin: string, vmgId: string, ecus: VciEcu[]): Vci {
  return { device_id: vmgId, vin, timestamp: new Date().toISOString(), trigger: "test", ecus };
}

/** Waits until `check` gives something; what it is waiting for stands in the error. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  limit = 60_000,
): Promise<T> {
  const deadline = Date.now() + limit;
  for (;;) {
    const found = await check();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited ${limit} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Bytes in chunks, as a stream gives them. */
export async function* chunks(text: string | Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  for (let at = 0; at < bytes.length; at += size) {
    yield bytes.subarray(at, at + size);
    await Promise.resolve();
  }
}

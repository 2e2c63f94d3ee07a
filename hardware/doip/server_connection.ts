// One TCP connection of a DoIP entity: header handler, routing activation, diagnostic messages, inactivity.

import type { DiagnosticEndpoint, RequestContext } from "../uds/transport.ts";
import {
  denialsThatKeepTheSocket,
  type DiagnosticNackCode,
  diagnosticNackCodes,
  headerNacksThatClose,
  hex,
  payloadTypes,
  routingActivationCodes,
} from "./constants.ts";
import { FrameWriter } from "./frame_writer.ts";
import { DoipFramer, type DoipViolation } from "./framer.ts";
import { decodeMessage, type DoipFrame, type DoipMessage, encodeMessage, readU16 } from "./message.ts";
import type { EntitySettings } from "./server_settings.ts";
import { type ByteStream, closeQuietly } from "../byte_stream.ts";

/** What a tester may send over TCP; anything else is an unknown payload type to the entity. */
const acceptedTypes: ReadonlySet<number> = new Set([
  payloadTypes.headerNack,
  payloadTypes.routingActivationRequest,
  payloadTypes.aliveCheckResponse,
  payloadTypes.diagnosticMessage,
]);

/** Decides which connection holds which tester address. */
export interface Registry {
  /**
   * The TCP socket handler: gives the address to the connection, after alive checks where others hold sockets.
   *
   * @returns 0x10, or the code of the denial (0x01, 0x03)
   */
  register(connection: ServerConnection, tester: number): Promise<number>;
  release(connection: ServerConnection, tester: number): void;
}

/** Where diagnostic messages to one target address go, and how answers come back. Made once per connection. */
interface Route {
  readonly context: RequestContext;
  readonly receivers: readonly { endpoint: DiagnosticEndpoint; respond: (response: Uint8Array) => void }[];
  /** Version of the latest request: answers are sent in it. */
  version: number;
}

/** Ends with {@link run}'s promise. */
export class ServerConnection {
  /** Name for messages. */
  readonly name: string;
  readonly #settings: EntitySettings;
  readonly #registry: Registry;
  readonly #stream: ByteStream;
  readonly #secure: boolean;
  readonly #framer: DoipFramer;
  readonly #writer: FrameWriter;
  readonly #closed = Promise.withResolvers<void>();
  /** More bytes than this waiting for the peer: no further request is read until they are gone. */
  readonly #crowded: number;
  readonly #routes = new Map<number, Route>();
  #state: "open" | "refused" | "closed" = "open";
  /** Registered tester address. */
  #tester: number | undefined;
  /** Whether routing is active: registered and, where that is needed, confirmed. */
  #active = false;
  #version: number;
  #lastActivity: number;
  #cancelInactivity: () => void = () => {};
  #cancelLinger: () => void = () => {};
  /** While requests of one read are handled, answers gather and leave together afterwards. */
  #gathering = false;
  #aliveCheck: { done: Promise<boolean>; answered: (alive: boolean) => void } | undefined;

  constructor(
    settings: EntitySettings,
    registry: Registry,
    stream: ByteStream,
    peer: { name: string; secure: boolean },
  ) {
    this.name = peer.name;
    this.#settings = settings;
    this.#registry = registry;
    this.#stream = stream;
    this.#secure = peer.secure;
    this.#version = settings.protocolVersion;
    this.#framer = new DoipFramer({
      accepts: acceptedTypes,
      maxPayloadLength: settings.maxDataSize,
      versions: settings.versions,
      available: settings.availableMemory,
    });
    this.#writer = new FrameWriter(stream, settings.maxPendingBytes, () => this.close());
    this.#crowded = settings.maxPendingBytes / 4;
    this.#lastActivity = settings.clock.now();
    this.#watch(settings.timers.initialInactivity);
  }

  /** Serves the connection until it is closed by either side. Never rejects. */
  async run(): Promise<void> {
    try {
      while (this.#state !== "closed") {
        const read = await this.#stream.read(this.#framer.writable());
        if (read === null) {
          // The tester may have ended only its sending direction: what it asked for is still answered.
          await this.#drainWithin(this.#settings.timers.linger);
          break;
        }
        if (this.#state === "refused") continue;
        this.#lastActivity = this.#settings.clock.now();
        this.#framer.commit(read);
        await this.#handleReceived();
      }
    } catch (error) {
      // A reset connection ends like a closed one. Anything else is a fault of ours and must be seen.
      if (this.#state !== "closed" && !isConnectionLost(error)) {
        this.#settings.warn(`${this.name}: ${error instanceof Error ? error.message : error}`);
      }
    } finally {
      this.close();
    }
  }

  /** Closes at once. */
  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#cancelInactivity();
    this.#cancelLinger();
    closeQuietly(this.#stream);
    this.#unregister();
    this.#aliveCheck?.answered(false);
    this.#closed.resolve();
  }

  /**
   * Asks the tester whether it is still there (0x0007); closes the connection when no right answer (0x0008) comes
   * within T_TCP_Alive_Check. Calls during a check share it.
   */
  checkAlive(): Promise<boolean> {
    if (this.#state !== "open") return Promise.resolve(false);
    if (this.#aliveCheck !== undefined) return this.#aliveCheck.done;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.#settings.clock.after(this.#settings.timers.aliveCheck, () => resolve(false));
    const done = promise.then((alive) => {
      cancel();
      this.#aliveCheck = undefined;
      if (!alive) this.close();
      return alive;
    });
    this.#aliveCheck = { done, answered: resolve };
    this.#send({ type: payloadTypes.aliveCheckRequest });
    this.#writer.flush();
    return done;
  }

  async #handleReceived(): Promise<void> {
    this.#gathering = true;
    for (let item = this.#framer.next(); item !== null; item = this.#framer.next()) {
      if (item.nack !== undefined) this.#violated(item);
      else {
        this.#version = item.version;
        if (item.payloadType === payloadTypes.diagnosticMessage) this.#diagnosticMessage(item);
        else if (item.payloadType === payloadTypes.routingActivationRequest) {
          await this.#activateRouting(item);
        } else if (item.payloadType === payloadTypes.aliveCheckResponse) this.#aliveCheckResponse(item);
        // 0x0000: a tester's complaint about one of our headers. Answering it could go back and forth forever.
      }
      if (this.#state !== "open") break;
      if (this.#writer.pending > this.#crowded) await this.#room();
    }
    this.#gathering = false;
    this.#writer.flush();
  }

  /** Generic header NACK (Table 19), with its close rule. */
  #violated({ nack, version }: DoipViolation): void {
    if (this.#settings.versions.has(version)) this.#version = version;
    this.#send({ type: payloadTypes.headerNack, code: nack });
    if (headerNacksThatClose.has(nack)) this.#refuse();
  }

  /** Diagnostic message handler (Tables 21 to 26). */
  #diagnosticMessage({ version, payload }: DoipFrame): void {
    const tester = readU16(payload, 0);
    const target = readU16(payload, 2);
    // Source address: the one activated on this socket, or the socket is closed.
    if (!this.#active || tester !== this.#tester) {
      this.#diagnosticNack(tester, target, diagnosticNackCodes.invalidSourceAddress);
      return this.#refuse();
    }
    // Target address: an ECU or a functional group behind this entity.
    const route = this.#routes.get(target) ?? this.#newRoute(target, tester);
    if (route === undefined) {
      return this.#diagnosticNack(tester, target, diagnosticNackCodes.unknownTargetAddress);
    }
    const request = payload.subarray(4);
    // Size, memory, reachability of the target: known to whoever owns the ECUs.
    const refusal = this.#settings.admit?.(target, request, tester);
    if (refusal !== undefined) return this.#diagnosticNack(tester, target, refusal);
    // The acknowledgement goes first; some testers discard whatever comes before it.
    if (!this.#writer.acknowledge(version, payloadTypes.diagnosticAck, target, tester, 0x00)) {
      return this.#overflow();
    }
    route.version = version;
    for (const { endpoint, respond } of route.receivers) {
      try {
        endpoint.handle(request, route.context, respond);
      } catch (error) {
        // An ECU that fails must not take the others' connection down; the tester sees its silence.
        this.#settings.warn(
          `${this.name}: the ECU at ${hex(target)} failed: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
  }

  #newRoute(target: number, tester: number): Route | undefined {
    const { nodes, functional } = this.#settings;
    const members = nodes.has(target) ? [target] : functional.get(target);
    if (members === undefined) return undefined;
    const context: RequestContext = { tester, addressing: nodes.has(target) ? "physical" : "functional" };
    const route: Route = {
      version: this.#version,
      context,
      receivers: members.flatMap((address) => {
        const endpoint = nodes.get(address);
        if (endpoint === undefined) return [];
        return [{ endpoint, respond: (response) => this.#respond(route, address, tester, response) }];
      }),
    };
    this.#routes.set(target, route);
    return route;
  }

  /** An ECU's message to the tester. After the connection is gone it goes nowhere, as on a real bus. */
  #respond(route: Route, source: number, tester: number, response: Uint8Array): void {
    if (response.length === 0) {
      throw new RangeError(`an answer of ${hex(source)} must have at least one byte`);
    }
    if (this.#state !== "open" || this.#tester !== tester) return;
    if (!this.#writer.diagnosticMessage(route.version, source, tester, response)) return this.#overflow();
    if (this.#gathering) return;
    this.#lastActivity = this.#settings.clock.now();
    this.#writer.flush();
  }

  /** Routing activation handler (Tables 46 to 49). */
  async #activateRouting(frame: DoipFrame): Promise<void> {
    const request = decodeMessage(frame);
    if (request.type !== payloadTypes.routingActivationRequest) return;
    const { sourceAddress: tester, activationType, oem } = request;
    // What was answered before must not wait for alive checks and people.
    this.#writer.flush();
    const { testers, types, tlsTypes, authorize } = this.#settings.activation;
    // 1. Is the source address known?
    if (!testers.some(({ first, last }) => tester >= first && tester <= last)) {
      return this.#deny(tester, routingActivationCodes.unknownSourceAddress);
    }
    // 2. Is the activation type supported, and on a connection like this?
    if (!types.includes(activationType)) return this.#deny(tester, routingActivationCodes.unsupportedType);
    if (tlsTypes.includes(activationType) && !this.#secure) {
      return this.#deny(tester, routingActivationCodes.tlsRequired);
    }
    // 3. Socket handler: one address a socket, one socket an address.
    if (this.#tester !== undefined) {
      if (this.#tester !== tester) return this.#deny(tester, routingActivationCodes.differentSourceAddress);
      if (this.#active) return this.#activationResponse(tester, routingActivationCodes.success);
    } else {
      const code = await this.#registry.register(this, tester);
      if (this.#state !== "open") return this.#registry.release(this, tester);
      if (code !== routingActivationCodes.success) return this.#deny(tester, code);
      this.#tester = tester;
    }
    // 4. Authentication and confirmation.
    const verdict = await Promise.race([
      authorize({ sourceAddress: tester, activationType, oem, secure: this.#secure }),
      this.#closed.promise,
    ]);
    if (verdict === undefined || this.#state !== "open") return;
    if (verdict.code === routingActivationCodes.success) {
      this.#active = true;
      return this.#activationResponse(tester, verdict.code);
    }
    if (verdict.code !== routingActivationCodes.confirmationRequired) return this.#deny(tester, verdict.code);
    this.#activationResponse(tester, verdict.code);
    verdict.confirmed.then((confirmed) => this.#confirm(tester, confirmed), (error) => {
      this.#settings.warn(
        `${this.name}: confirmation failed: ${error instanceof Error ? error.message : error}`,
      );
      this.#confirm(tester, false);
    });
  }

  #confirm(tester: number, confirmed: boolean): void {
    if (this.#state !== "open" || this.#tester !== tester || this.#active) return;
    if (!confirmed) return this.#deny(tester, routingActivationCodes.rejectedConfirmation);
    this.#active = true;
    this.#activationResponse(tester, routingActivationCodes.success);
    this.#writer.flush();
  }

  #deny(tester: number, code: number): void {
    this.#activationResponse(tester, code);
    if (denialsThatKeepTheSocket.has(code)) this.#unregister();
    else this.#refuse();
  }

  #activationResponse(tester: number, code: number): void {
    this.#send({
      type: payloadTypes.routingActivationResponse,
      testerAddress: tester,
      entityAddress: this.#settings.logicalAddress,
      code,
    });
  }

  /** A right answer ends an alive check; another tester's address in it means that the socket is not what it was. */
  #aliveCheckResponse({ payload }: DoipFrame): void {
    if (this.#tester === undefined) return;
    if (readU16(payload, 0) === this.#tester) this.#aliveCheck?.answered(true);
    else this.close();
  }

  #diagnosticNack(tester: number, target: number, code: DiagnosticNackCode): void {
    const { diagnosticNack } = payloadTypes;
    if (!this.#writer.acknowledge(this.#version, diagnosticNack, target, tester, code)) this.#overflow();
  }

  #send(message: DoipMessage): void {
    if (!this.#writer.message(encodeMessage(this.#version, message))) this.#overflow();
  }

  /** The peer asks and does not read: its connection goes before the memory does. */
  #overflow(): void {
    if (this.#state === "closed") return;
    this.#settings.warn(
      `${this.name}: closed, ${this.#writer.pending} bytes are waiting and the peer does not read`,
    );
    this.close();
  }

  /** Waits until the peer has read what waits for it, within a limit. */
  async #room(): Promise<void> {
    if (!await this.#drainWithin(this.#settings.timers.send)) this.#overflow();
  }

  async #drainWithin(limit: number): Promise<boolean> {
    let cancel = (): void => {};
    const late = new Promise<boolean>((resolve) => {
      cancel = this.#settings.clock.after(limit, () => resolve(false));
    });
    const drained = Promise.race([this.#writer.drained(), this.#closed.promise]).then(() => true);
    const inTime = await Promise.race([drained, late]);
    cancel();
    return inTime;
  }

  /**
   * Closes after the peer could read why. Closing at once with unread bytes in the receive buffer would reset the
   * connection and throw the refusal away, so the sending direction ends first and the rest is read and dropped.
   */
  #refuse(): void {
    if (this.#state !== "open") return;
    this.#state = "refused";
    this.#framer.stop();
    this.#cancelInactivity();
    this.#unregister();
    this.#aliveCheck?.answered(false);
    this.#cancelLinger = this.#settings.clock.after(this.#settings.timers.linger, () => this.close());
    this.#writer.drained().then(() => this.#state === "closed" ? undefined : this.#stream.closeWrite?.())
      .catch(() => {
        // The peer was faster and has closed.
        this.close();
      });
  }

  #unregister(): void {
    const tester = this.#tester;
    if (tester === undefined) return;
    this.#tester = undefined;
    this.#active = false;
    this.#registry.release(this, tester);
    const endpoints = new Set(
      [...this.#routes.values()].flatMap((route) => route.receivers.map(({ endpoint }) => endpoint)),
    );
    this.#routes.clear();
    for (const endpoint of endpoints) {
      try {
        endpoint.disconnected?.(tester);
      } catch (error) {
        this.#settings.warn(`${this.name}: an ECU failed: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** T_TCP_Initial_Inactivity until a tester is registered, T_TCP_General_Inactivity since the last byte after. */
  #watch(milliseconds: number): void {
    const { clock, timers } = this.#settings;
    const openedAt = this.#lastActivity;
    const look = (): void => {
      const due = this.#tester === undefined
        ? openedAt + timers.initialInactivity
        : this.#lastActivity + timers.generalInactivity;
      const left = due - clock.now();
      if (left <= 0) this.close();
      else this.#cancelInactivity = clock.after(Math.ceil(left), look);
    };
    this.#cancelInactivity = clock.after(milliseconds, look);
  }
}

function isConnectionLost(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.TimedOut;
}

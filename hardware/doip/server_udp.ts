// The UDP side of a DoIP entity: identification, announcements, entity status, diagnostic power mode.

import { sameBytes } from "../same_bytes.ts";
import { headerLength, headerNackCodes, payloadTypes, protocolVersions } from "./constants.ts";
import {
  decodeMessage,
  type DoipFrame,
  type DoipMessage,
  encodeMessage,
  isLengthAllowed,
  readHeader,
} from "./message.ts";
import type { EntitySettings } from "./server_settings.ts";
import { bindUdp, type UdpSocket } from "./udp.ts";

/** Requests that an entity answers over UDP. */
const requests: ReadonlySet<number> = new Set([
  payloadTypes.identificationRequest,
  payloadTypes.identificationRequestEid,
  payloadTypes.identificationRequestVin,
  payloadTypes.entityStatusRequest,
  payloadTypes.powerModeRequest,
]);

/** What other entities send to the same port: no concern of ours, and answering it could go on forever. */
const foreignAnswers: ReadonlySet<number> = new Set([
  payloadTypes.headerNack,
  payloadTypes.announcement,
  payloadTypes.entityStatusResponse,
  payloadTypes.powerModeResponse,
]);

const identificationRequests: ReadonlySet<number> = new Set([
  payloadTypes.identificationRequest,
  payloadTypes.identificationRequestEid,
  payloadTypes.identificationRequestVin,
]);

/** Identification responses that may wait for their random delay at a time; more requests are not answered. */
const maxDelayed = 256;

/** Answers until it is closed. */
export class UdpResponder {
  readonly #settings: EntitySettings;
  readonly #openConnections: () => number;
  readonly #delayed = new Set<() => void>();
  #socket: UdpSocket | undefined;

  private constructor(settings: EntitySettings, openConnections: () => number) {
    this.#settings = settings;
    this.#openConnections = openConnections;
  }

  /** Binds the socket and begins to announce. */
  static async bind(
    settings: EntitySettings,
    port: number,
    openConnections: () => number,
  ): Promise<UdpResponder> {
    const responder = new UdpResponder(settings, openConnections);
    responder.#socket = await bindUdp(
      settings.hostname,
      port,
      (bytes, from) => responder.#received(bytes, from),
      (error) => responder.#failed(error),
      settings.tap,
    );
    responder.#announce();
    return responder;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  async close(): Promise<void> {
    for (const cancel of this.#delayed) cancel();
    this.#delayed.clear();
    await this.#socket?.close();
  }

  #received(bytes: Uint8Array, from: { hostname: string; port: number }): void {
    const settings = this.#settings;
    const { version, frame, nack } = this.#parse(bytes);
    const answer = (message: DoipMessage): void =>
      this.#socket?.send(
        encodeMessage(version, message),
        from.hostname,
        from.port,
        (error) => this.#failed(error),
      );
    if (nack !== undefined) return answer({ type: payloadTypes.headerNack, code: nack });
    if (frame === undefined) return;
    const request = decodeMessage(frame);
    switch (request.type) {
      case payloadTypes.identificationRequest:
        return this.#afterWait(() => answer(this.#identity()));
      case payloadTypes.identificationRequestEid:
        if (sameBytes(request.eid, settings.eid)) this.#afterWait(() => answer(this.#identity()));
        return;
      case payloadTypes.identificationRequestVin:
        if (request.vin === settings.vin) this.#afterWait(() => answer(this.#identity()));
        return;
      case payloadTypes.entityStatusRequest:
        return answer({
          type: payloadTypes.entityStatusResponse,
          nodeType: settings.nodeType,
          maxSockets: settings.maxTcpConnections,
          openSockets: this.#openConnections(),
          maxDataSize: settings.maxDataSize,
        });
      case payloadTypes.powerModeRequest:
        return answer({ type: payloadTypes.powerModeResponse, mode: settings.powerMode() });
    }
  }

  /** Generic header handler (ISO 13400-2:2019, Table 19): pattern, type, size, memory, length, in this order. */
  #parse(bytes: Uint8Array): { version: number; frame?: DoipFrame; nack?: number } {
    const { protocolVersion, versions, maxDataSize, availableMemory } = this.#settings;
    if (bytes.length < headerLength) {
      return { version: protocolVersion, nack: headerNackCodes.incorrectPattern };
    }
    const { version: asked, inverseVersion, payloadType, payloadLength } = readHeader(bytes);
    const anyVersion = asked === protocolVersions.identification && identificationRequests.has(payloadType);
    if ((asked ^ 0xff) !== inverseVersion || !(anyVersion || versions.has(asked))) {
      return { version: protocolVersion, nack: headerNackCodes.incorrectPattern };
    }
    const version = anyVersion ? protocolVersion : asked;
    if (foreignAnswers.has(payloadType)) return { version };
    if (!requests.has(payloadType)) return { version, nack: headerNackCodes.unknownPayloadType };
    if (payloadLength > maxDataSize) return { version, nack: headerNackCodes.messageTooLarge };
    if (payloadLength > availableMemory()) return { version, nack: headerNackCodes.outOfMemory };
    if (
      payloadLength !== bytes.length - headerLength || !isLengthAllowed(version, payloadType, payloadLength)
    ) {
      return { version, nack: headerNackCodes.invalidPayloadLength };
    }
    return { version, frame: { version, payloadType, payload: bytes.subarray(headerLength) } };
  }

  #identity(): DoipMessage {
    const { vin, logicalAddress, eid, gid, furtherAction, syncStatus } = this.#settings;
    return { type: payloadTypes.announcement, vin, logicalAddress, eid, gid, furtherAction, syncStatus };
  }

  #announce(): void {
    const { announce, protocolVersion, timers } = this.#settings;
    if (announce.destinations.length === 0) return;
    let left = announce.count;
    const next = (): void => {
      if (left-- <= 0) return;
      const bytes = encodeMessage(protocolVersion, this.#identity());
      for (const { hostname, port } of announce.destinations) {
        this.#socket?.send(bytes, hostname, port, (error) => this.#failed(error));
      }
      this.#later(timers.announceInterval, next);
    };
    this.#afterWait(next);
  }

  /** A_DoIP_Announce_Wait: a random delay, so that not all entities of a vehicle answer at the same moment. */
  #afterWait(run: () => void): void {
    const { timers, random } = this.#settings;
    const wait = random() * timers.announceWait;
    if (wait === 0) run();
    else if (this.#delayed.size < maxDelayed) this.#later(wait, run);
  }

  #later(milliseconds: number, run: () => void): void {
    const cancel = this.#settings.clock.after(milliseconds, () => {
      this.#delayed.delete(cancel);
      run();
    });
    this.#delayed.add(cancel);
  }

  #failed(error: Error): void {
    this.#settings.warn(`DoIP UDP ${this.#settings.hostname}:${this.port}: ${error.message}`);
  }
}

// The client's path to one ECU over CAN.

import type { ReceivedMessage, UdsTransport, WaitOptions } from "../uds/transport.ts";
import type { Routes } from "./address.ts";
import { IsoTpError } from "./errors.ts";
import type { IsoTpFunctionalTransport } from "./functional_transport.ts";
import { Inbox } from "./inbox.ts";
import { IsoTpLink } from "./link.ts";
import type { IsoTpNode } from "./node.ts";
import type { IsoTpSettings } from "./settings.ts";

/** What a transport needs of the client that it belongs to. */
export interface TransportOwner {
  /** Counts the requests of the client, physical and functional. */
  nextRequest(): number;
  /** The transport is closed. */
  left(): void;
}

/** What {@link IsoTpClient.transport} gives. */
export class IsoTpTransport implements UdsTransport {
  readonly name: string;
  readonly maxRequestLength: number;
  /** The ECU: its N_SA in fixed formats, else its response identifier. */
  readonly ecu: number;
  /** Functional groups whose requests this ECU may answer. */
  readonly groups = new Set<IsoTpFunctionalTransport>();
  /** Place of the last request among all of the client's. */
  lastRequest = 0;
  readonly #node: IsoTpNode;
  readonly #link: IsoTpLink;
  readonly #inbox: Inbox;
  readonly #settings: IsoTpSettings;
  readonly #unhear: () => void;
  readonly #owner: TransportOwner;

  constructor(name: string, node: IsoTpNode, routes: Routes, settings: IsoTpSettings, owner: TransportOwner) {
    this.name = name;
    this.ecu = routes.ecu;
    this.maxRequestLength = settings.maxMessageLength;
    this.#node = node;
    this.#settings = settings;
    this.#owner = owner;
    this.#inbox = new Inbox(name, settings, () => this.#link.receiving && this.#group() === undefined);
    this.#link = new IsoTpLink(
      { name, bus: node.bus, out: routes.request, in: routes.response, settings },
      {
        admit: () => "continue",
        began: () => {},
        refused: () => this.#settle(),
        released: () => {},
        received: (message) => this.#received(message),
        failed: (error) => this.#failed(error),
      },
    );
    this.#unhear = node.hear(routes.response, (data) => this.#link.frame(data));
  }

  /** Whether a segmented answer is under way: P2 is over then (ISO 14229-2). */
  get receiving(): boolean {
    return this.#link.receiving;
  }

  /** Frames of the ECU that the standard tells to ignore, so far. */
  get ignored(): number {
    return this.#link.ignored;
  }

  /** Messages that were thrown away because nobody received them. */
  get dropped(): number {
    return this.#inbox.dropped;
  }

  /**
   * Sends one request. The time-out is until the ECU lets it go on with its first flow control; from there N_As for
   * each frame, N_Bs for each flow control and maxWaits bound it, as a long message may rightly take long.
   *
   * @throws {IsoTpError} with the N_Result
   */
  async send(request: Uint8Array, options: WaitOptions): Promise<void> {
    if (this.#node.failure !== undefined) throw this.#node.failure;
    this.lastRequest = this.#owner.nextRequest();
    await this.#link.send(request, options);
  }

  /**
   * The next message of the ECU. The time-out is until its first frame; from there N_Cr bounds it.
   *
   * @throws {UdsTimeoutError} when none began in time
   * @throws {IsoTpError} when one began and was lost, with the N_Result
   */
  async receive(options: WaitOptions): Promise<Uint8Array> {
    return (await this.#inbox.receive(options)).message;
  }

  discardReceived(): number {
    return this.#inbox.discard();
  }

  /** Hears the ECU no more. What is under way ends. */
  close(error = new IsoTpError(this.name, "N_ERROR", "the transport is closed")): void {
    this.#unhear();
    this.#link.stop(error);
    this.#inbox.close(error);
    for (const group of this.groups) group.remove(this);
    this.#owner.left();
  }

  /** A payload that was heard before this transport was. */
  frame(data: Uint8Array): void {
    this.#link.frame(data);
  }

  /** The functional request that a message belongs to, if it does not belong to a physical one. */
  #group(): IsoTpFunctionalTransport | undefined {
    if (this.#inbox.waiting) return undefined;
    let latest: IsoTpFunctionalTransport | undefined;
    for (const group of this.groups) {
      if (group.lastRequest > (latest ?? this).lastRequest) latest = group;
    }
    return latest;
  }

  #received(message: Uint8Array): void {
    const received: ReceivedMessage = { source: this.ecu, message };
    const group = this.#group();
    if (group !== undefined) group.received(received);
    else this.#inbox.push(received);
    this.#settle();
  }

  #failed(error: IsoTpError): void {
    // Another message follows at once: whoever waits goes on waiting.
    const replaced = error.result === "N_UNEXP_PDU";
    // Of a group others may still answer.
    const told = !replaced && this.#group() === undefined && this.#inbox.fail(error);
    if (!told) this.#settings.log(error.message);
    if (!replaced) this.#settle();
  }

  /** Nothing is under way here any more: readers whose time is up have waited for nothing else. */
  #settle(): void {
    this.#inbox.settle();
    for (const group of this.groups) group.settle();
  }

  /** Whether a message for the group is under way. */
  answering(group: IsoTpFunctionalTransport): boolean {
    return this.#link.receiving && this.#group() === group;
  }
}

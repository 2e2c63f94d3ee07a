// The client's path to all ECUs of a functional group: requests in single frames, answers from each on its own path.

import type { FunctionalTransport, ReceivedMessage, WaitOptions } from "../uds/transport.ts";
import type { Route } from "./address.ts";
import type { IsoTpTransport, TransportOwner } from "./client_transport.ts";
import { IsoTpError } from "./errors.ts";
import { offsetOf, singleFrame } from "./frames.ts";
import { Inbox } from "./inbox.ts";
import type { IsoTpNode } from "./node.ts";
import { maxSingleFrameLength } from "./pci.ts";
import { busError } from "./sender.ts";
import type { IsoTpSettings } from "./settings.ts";

/** What {@link IsoTpClient.functional} gives. */
export class IsoTpFunctionalTransport implements FunctionalTransport {
  readonly name: string;
  /** A functional request is a single frame (ISO 15765-2:2016, 8.3.2.4). */
  readonly maxRequestLength: number;
  /** Place of the last request among all of the client's. */
  lastRequest = 0;
  readonly #node: IsoTpNode;
  readonly #route: Route;
  readonly #settings: IsoTpSettings;
  readonly #inbox: Inbox;
  readonly #owner: TransportOwner;
  readonly #members = new Set<IsoTpTransport>();

  constructor(name: string, node: IsoTpNode, route: Route, settings: IsoTpSettings, owner: TransportOwner) {
    if (settings.fd && !node.bus.fd) throw new RangeError(`fd: ${node.bus.name} sends no CAN FD frames`);
    this.name = name;
    this.maxRequestLength = maxSingleFrameLength(settings.txDl, offsetOf(route));
    this.#node = node;
    this.#route = route;
    this.#settings = settings;
    this.#owner = owner;
    this.#inbox = new Inbox(
      name,
      settings,
      () => [...this.#members].some((member) => member.answering(this)),
    );
  }

  /** ECUs whose answers are heard. */
  get members(): ReadonlySet<IsoTpTransport> {
    return this.#members;
  }

  /** Hears one more ECU. */
  add(member: IsoTpTransport): void {
    this.#members.add(member);
    member.groups.add(this);
  }

  /** Hears one ECU no more. */
  remove(member: IsoTpTransport): void {
    this.#members.delete(member);
    member.groups.delete(this);
    this.settle();
  }

  /**
   * Sends one request to the group.
   *
   * @throws {IsoTpError} with N_TIMEOUT_A or N_ERROR
   */
  async send(request: Uint8Array, { timeout, signal }: WaitOptions): Promise<void> {
    signal?.throwIfAborted();
    if (this.#node.failure !== undefined) throw this.#node.failure;
    const frame = request.length === 0 ? undefined : singleFrame(this.#route, this.#settings, request);
    if (frame === undefined) {
      throw new IsoTpError(
        this.name,
        "N_ERROR",
        `a functional request is a single frame of 1 to ${this.maxRequestLength} bytes, got ${request.length}`,
      );
    }
    this.lastRequest = this.#owner.nextRequest();
    const { clock, nAs } = this.#settings;
    const limit = Math.min(nAs, timeout);
    const began = clock.now();
    try {
      await this.#node.bus.send(frame, { timeout: limit, signal });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw busError(this.name, error, clock.now() - began, limit);
    }
  }

  /** The next answer, with the ECU that sent it. The time-out is until one begins. */
  receiveFrom(options: WaitOptions): Promise<ReceivedMessage> {
    return this.#inbox.receive(options);
  }

  discardReceived(): number {
    return this.#inbox.discard();
  }

  /** Hears answers no more. */
  close(error = new IsoTpError(this.name, "N_ERROR", "the transport is closed")): void {
    this.#inbox.close(error);
    for (const member of this.#members) this.remove(member);
    this.#owner.left();
  }

  /** A member answered. */
  received(received: ReceivedMessage): void {
    this.#inbox.push(received);
  }

  /** A member's answer ended without a message. */
  settle(): void {
    this.#inbox.settle();
  }
}

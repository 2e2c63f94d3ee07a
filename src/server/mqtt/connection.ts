// One client's connection to the broker, and the order of what it sends.

import type { Duplex } from "node:stream";
import type { Client, ConnectPacket } from "aedes";
import type { TlsConnection } from "../../tls/types.ts";
import type { Identity } from "../identity.ts";
import { InOrder, type Work } from "./in_order.ts";
import type { VehicleNames } from "./topics.ts";

/** Least time between two looks into the registry for one connection, in milliseconds. */
const refreshInterval = 1000;

export class Connection {
  connect: ConnectPacket | undefined;
  client: Client | undefined;
  /** Settles when the broker knows the client by its id, or the connection is over. */
  readonly arrived = Promise.withResolvers<void>();
  /** Whether CONNECT was accepted. */
  accepted = false;
  vmgId: string | undefined;
  /** message_ids of what was sent over this connection and is not acknowledged. */
  readonly sent = new Set<string>();
  /** Packet identifiers for messages to a clean session: 1 to 65535 (MQTT 3.1.1 section 2.3.1). */
  nextPacketId = 1;
  /** The delivery that runs, and whether another one was asked for meanwhile. */
  delivering: Promise<void> | undefined;
  deliverAgain = false;
  readonly #order = new InOrder();
  #refreshed = 0;

  constructor(readonly tls: TlsConnection, readonly stream: Duplex, readonly identity: Identity) {}

  get names(): VehicleNames {
    return { vin: this.identity.kind === "vehicle" ? this.identity.vin : "", vmgId: this.vmgId };
  }

  /** Whether the stream has ended: what is published in its name now is its will. */
  get closed(): boolean {
    return this.client?.closed ?? this.stream.destroyed;
  }

  /** Whether the registry may be asked again for the vehicle's names. */
  mayRefresh(now: number = Date.now()): boolean {
    if (now - this.#refreshed < refreshInterval) return false;
    this.#refreshed = now;
    return true;
  }

  /** See {@link InOrder.do}: a vehicle's messages are one sequence. */
  inOrder(work: Work): Promise<void> {
    return this.#order.do("", work);
  }

  /** Resolves when everything that came so far is done with. */
  settled(): Promise<void> {
    return this.#order.settled();
  }
}

// One client's connection to the broker, and the order of what it sends.

import type { Duplex } from "node:stream";
import type { Client, ConnectPacket } from "aedes";
import type { TlsConnection } from "../../tls/types.ts";
import type { Identity } from "../identity.ts";
import type { VehicleNames } from "./topics.ts";

/** Least time between two looks into the registry for one connection, in milliseconds. */
const refreshInterval = 1000;

export class Connection {
  connect: ConnectPacket | undefined;
  client: Client | undefined;
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
  #processed: Promise<void> = Promise.resolve();
  #acknowledged: Promise<void> = Promise.resolve();
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

  /**
   * Does a message's work after that of the messages before it, and settles after they have: acknowledgements keep the order
   * of what they acknowledge (section 4.6). Work that only has to be waited for is given back as a function; the next
   * message's work begins without waiting for it.
   */
  inOrder(work: () => Promise<(() => Promise<void>) | void>): Promise<void> {
    const before = this.#acknowledged;
    const begun = this.#processed.then(work);
    this.#processed = begun.then(() => {}, () => {});
    const done = begun.then((rest) => rest?.());
    // A failure is reported at its own turn; until then it must not count as unhandled.
    done.catch(() => {});
    const acknowledged = before.then(() => done);
    this.#acknowledged = acknowledged.catch(() => {});
    return acknowledged;
  }

  /** Resolves when everything that came so far is done with. */
  settled(): Promise<void> {
    return this.#acknowledged;
  }
}

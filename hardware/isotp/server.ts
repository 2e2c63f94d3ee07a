// ECUs on a CAN bus: diagnostic endpoints under physical and functional addresses.

import type { CanBus } from "../can/bus.ts";
import type { DiagnosticEndpoint } from "../uds/transport.ts";
import type { IsoTpAddress, IsoTpFunctionalAddress } from "./address.ts";
import { externalTester } from "./constants.ts";
import { IsoTpBusError, IsoTpError } from "./errors.ts";
import { IsoTpNode } from "./node.ts";
import type { Admission } from "./receiver.ts";
import { ServerEndpoint } from "./server_endpoint.ts";
import { checkInteger, type IsoTpOptions, settingsFor } from "./settings.ts";

/** Options of a server. */
export interface IsoTpServerOptions extends IsoTpOptions {
  /**
   * Bytes of requests that may be under way at a time, all testers together, by what their first frames claim; who
   * comes on top is told to WAIT. @default {16777216}
   */
  maxReceiving?: number;
}

/** Where an endpoint is reached. */
export interface AttachOptions extends IsoTpOptions {
  /** Its own address. A fixed format without `tester` serves every tester, each with its own responses. */
  physical: IsoTpAddress;
  /** Groups that it belongs to. @default {none} */
  functional?: readonly IsoTpFunctionalAddress[];
  /** The tester's address that the endpoint is told where the format has none. @default {0xF1} */
  tester?: number;
  /** Testers that are known at a time; the one that was silent longest makes room. @default {16} */
  maxTesters?: number;
}

/** The ECUs' side of ISO-TP on one bus. */
export class IsoTpServer {
  readonly #options: IsoTpOptions;
  readonly #maxReceiving: number;
  readonly #node: IsoTpNode;
  readonly #detach = new Set<(error: IsoTpError) => void>();
  #receiving = 0;

  /**
   * @param bus stays the caller's
   * @throws {RangeError} quoting an option that cannot be
   */
  constructor(bus: CanBus, options: IsoTpServerOptions = {}) {
    const { maxReceiving = 16_777_216, ...own } = options;
    settingsFor(own);
    this.#options = own;
    this.#maxReceiving = checkInteger(maxReceiving, 1, Number.MAX_SAFE_INTEGER, "maxReceiving");
    this.#node = new IsoTpNode(bus, (error) => {
      for (const detach of this.#detach) detach(error);
    });
  }

  /**
   * Puts an endpoint on the bus.
   *
   * @returns what takes it off
   * @throws {RangeError} for an address or option that cannot be
   * @throws {IsoTpError} when the bus is gone, or the address is taken
   */
  attach(endpoint: DiagnosticEndpoint, options: AttachOptions): () => void {
    if (this.#node.failure !== undefined) throw this.#node.failure;
    const { physical, functional = [], tester: unnamed = externalTester, maxTesters = 16, ...own } = options;
    checkInteger(maxTesters, 1, 256, "maxTesters");
    const attached = new ServerEndpoint(this.#node, endpoint, {
      physical,
      unnamed,
      maxTesters,
      settings: settingsFor({ ...this.#options, ...own }),
      admit: (length) => this.#admit(length),
      released: (length) => this.#receiving -= length,
    });
    try {
      for (const address of functional) attached.listen(address);
    } catch (error) {
      attached.close(new IsoTpError(this.#node.bus.name, "N_ERROR", "the ECU is not attached"));
      throw error;
    }
    const detach = (error: IsoTpError) => {
      this.#detach.delete(detach);
      attached.close(error);
    };
    this.#detach.add(detach);
    return () => detach(new IsoTpError(this.#node.bus.name, "N_ERROR", "the ECU is detached"));
  }

  /** Takes all endpoints off. The bus stays open. */
  close(): void {
    this.#node.close(new IsoTpBusError(this.#node.bus.name, "the ISO-TP server is closed"));
  }

  #admit(length: number): Admission {
    // One message is let in whatever its length: it would wait in vain.
    if (this.#receiving > 0 && this.#receiving + length > this.#maxReceiving) return "wait";
    this.#receiving += length;
    return "continue";
  }
}

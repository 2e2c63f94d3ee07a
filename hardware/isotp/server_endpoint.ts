// One endpoint on the bus, with the testers that have spoken to it.

import type { DiagnosticEndpoint } from "../uds/transport.ts";
import {
  anyTesterRoute,
  type IsoTpAddress,
  type IsoTpFunctionalAddress,
  resolveAddress,
  resolveFunctional,
  withTester,
} from "./address.ts";
import { externalTester } from "./constants.ts";
import { IsoTpError } from "./errors.ts";
import { offsetOf } from "./frames.ts";
import type { IsoTpNode } from "./node.ts";
import { decodePdu } from "./pci.ts";
import { type ReceiveBudget, ServerLink } from "./server_link.ts";
import type { IsoTpSettings } from "./settings.ts";

/** Where an endpoint is reached, and its limits. */
export interface ServerEndpointOptions extends ReceiveBudget {
  readonly physical: IsoTpAddress;
  /** The tester's address where the format has none. */
  readonly unnamed: number;
  readonly maxTesters: number;
  readonly settings: IsoTpSettings;
}

/** Gives each tester a link of its own. */
export class ServerEndpoint {
  readonly #node: IsoTpNode;
  readonly #endpoint: DiagnosticEndpoint;
  readonly #options: ServerEndpointOptions;
  readonly #unhear: (() => void)[] = [];
  /** The only tester's, where the address names it or cannot name any. */
  readonly #single: ServerLink | undefined;
  /** By tester, the one that spoke last at the end. */
  readonly #links = new Map<number, ServerLink>();

  constructor(node: IsoTpNode, endpoint: DiagnosticEndpoint, options: ServerEndpointOptions) {
    this.#node = node;
    this.#endpoint = endpoint;
    this.#options = options;
    const { physical } = options;
    const any = anyTesterRoute(physical);
    if (any !== undefined) {
      this.#unhear.push(node.hear(any, (data, id) => this.#linkOf(id & 0xff)?.frame(data)));
    } else {
      const { request, tester = options.unnamed } = resolveAddress(physical);
      const single = this.#newLink(physical, tester);
      this.#single = single;
      this.#unhear.push(node.hear(request, (data) => single.frame(data)));
    }
  }

  /** Hears a functional group. */
  listen(group: IsoTpFunctionalAddress): void {
    const route = resolveFunctional(group);
    const fixed = group.format === "normal_fixed" || group.format === "mixed_29";
    const tester = group.format === "extended" ? group.tester ?? externalTester : this.#options.unnamed;
    const offset = offsetOf(route);
    const hear = (data: Uint8Array, id: number) => {
      const pdu = decodePdu(data, offset);
      // A functional message is a single frame (8.3.2.4); nothing else that comes there is for this ECU.
      if (pdu.type !== "single_frame") return;
      const link = this.#linkOf(fixed ? id & 0xff : tester);
      link?.request(data.slice(pdu.start, pdu.start + pdu.length), "functional");
    };
    this.#unhear.push(this.#node.hear(route, hear, true));
  }

  close(error: IsoTpError): void {
    for (const end of this.#unhear) end();
    this.#single?.close(error);
    for (const link of this.#links.values()) link.close(error);
    this.#links.clear();
  }

  /** The link to a tester; undefined for one that this address does not serve. */
  #linkOf(tester: number): ServerLink | undefined {
    const { physical, maxTesters } = this.#options;
    if (this.#single !== undefined) {
      const named = "tester" in physical && physical.tester !== undefined;
      return named && physical.tester !== tester ? undefined : this.#single;
    }
    let link = this.#links.get(tester);
    if (link === undefined) {
      // No tester has the ECU's own address.
      if ("ecu" in physical && physical.ecu === tester) return undefined;
      link = this.#newLink(withTester(physical, tester), tester);
    } else this.#links.delete(tester);
    this.#links.set(tester, link);
    if (this.#links.size > maxTesters) {
      for (const [silent, other] of this.#links) {
        this.#links.delete(silent);
        other.close(
          new IsoTpError(
            other.name,
            "N_ERROR",
            `more than ${maxTesters} testers; this one was silent longest`,
          ),
        );
        break;
      }
    }
    return link;
  }

  #newLink(address: IsoTpAddress, tester: number): ServerLink {
    return new ServerLink(this.#node, this.#endpoint, {
      routes: resolveAddress(address),
      tester,
      settings: this.#options.settings,
      budget: this.#options,
    });
  }
}

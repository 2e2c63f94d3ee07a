// A tester on a CAN bus: its paths to single ECUs and to functional groups.

import type { CanBus } from "../can/bus.ts";
import {
  anyResponderRoute,
  type IsoTpAddress,
  type IsoTpFunctionalAddress,
  resolveAddress,
  resolveFunctional,
  responderAddress,
  type Route,
  type Routes,
  sameRoute,
  showRoute,
} from "./address.ts";
import { IsoTpTransport } from "./client_transport.ts";
import { IsoTpBusError, IsoTpError } from "./errors.ts";
import { IsoTpFunctionalTransport } from "./functional_transport.ts";
import { IsoTpNode } from "./node.ts";
import { type IsoTpOptions, settingsFor } from "./settings.ts";

/** Options of a functional path. */
export interface FunctionalOptions extends IsoTpOptions {
  /**
   * ECUs whose answers are heard. `any`, in fixed formats alone: whichever answers the tester.
   * @default {any in fixed formats; the eight of {@link obdResponders} for 7DF}
   */
  responders?: readonly IsoTpAddress[] | "any";
}

/** ECUs of legislated OBD with 11-bit identifiers: 7E0/7E8 to 7E7/7EF (ISO 15765-4, table 4). */
export function obdResponders(): IsoTpAddress[] {
  return Array.from(
    { length: 8 },
    (_, at) => ({ format: "normal", requestId: 0x7e0 + at, responseId: 0x7e8 + at }),
  );
}

interface Member {
  readonly routes: Routes;
  readonly transport: IsoTpTransport;
}

interface Group {
  /** How answers of all ECUs are heard, where not of some alone. */
  readonly any: Route | undefined;
  readonly transport: IsoTpFunctionalTransport;
}

/** The tester's side of ISO-TP on one bus. Two of them on one bus must not share addresses: both would answer. */
export class IsoTpClient {
  readonly #options: IsoTpOptions;
  readonly #node: IsoTpNode;
  readonly #members = new Set<Member>();
  readonly #groups = new Set<Group>();
  #requests = 0;

  /**
   * @param bus stays the caller's
   * @throws {RangeError} quoting an option that cannot be
   */
  constructor(bus: CanBus, options: IsoTpOptions = {}) {
    settingsFor(options);
    this.#options = options;
    this.#node = new IsoTpNode(bus, (error) => {
      for (const { transport } of this.#members) transport.close(error);
      for (const { transport } of this.#groups) transport.close(error);
    });
  }

  /**
   * The path to one ECU; the same one when asked again.
   *
   * @param options override the client's
   * @throws {RangeError} for an address or option that cannot be
   * @throws {IsoTpError} when the bus is gone, or options are given for a path that is open already
   */
  transport(address: IsoTpAddress, options?: IsoTpOptions): IsoTpTransport {
    const routes = resolveAddress(address);
    const open = this.#member(routes);
    if (open === undefined) return this.#open(routes, options);
    if (options !== undefined) {
      throw new IsoTpError(open.transport.name, "N_ERROR", "the path is open already, with other options");
    }
    return open.transport;
  }

  /**
   * The path to all ECUs of a functional group. An answer that comes while its ECU's own path waits for one goes
   * there; else to whichever of the two sent last.
   *
   * @throws {RangeError} for an address or option that cannot be
   * @throws {IsoTpError} when the bus is gone
   */
  functional(address: IsoTpFunctionalAddress, options: FunctionalOptions = {}): IsoTpFunctionalTransport {
    this.#alive();
    const { responders = defaultResponders(address), ...own } = options;
    const route = resolveFunctional(address);
    const any = responders === "any" ? anyResponderRoute(address) : undefined;
    const group: Group = {
      any,
      transport: new IsoTpFunctionalTransport(
        `${this.#node.bus.name} ${showRoute(route)}`,
        this.#node,
        route,
        settingsFor({ ...this.#options, ...own }),
        {
          nextRequest: () => ++this.#requests,
          left: () => {
            unhear();
            this.#groups.delete(group);
          },
        },
      ),
    };
    let unhear = () => {};
    if (any !== undefined) {
      unhear = this.#node.hear(any, (data, id) => {
        const routes = resolveAddress(responderAddress(address, id & 0xff));
        if (this.#member(routes) === undefined) this.#open(routes, own).frame(data);
      });
    }
    this.#groups.add(group);
    for (const member of this.#members) join(member, group);
    if (responders !== "any") {
      try {
        for (const responder of responders) {
          const routes = resolveAddress(responder);
          group.transport.add(this.#member(routes)?.transport ?? this.#open(routes, own));
        }
      } catch (error) {
        group.transport.close();
        throw error;
      }
    }
    return group.transport;
  }

  /** Ends all paths. The bus stays open. */
  close(): void {
    this.#node.close(new IsoTpBusError(this.#node.bus.name, "the ISO-TP client is closed"));
  }

  #alive(): void {
    if (this.#node.failure !== undefined) throw this.#node.failure;
  }

  #member({ request, response }: Routes): Member | undefined {
    for (const member of this.#members) {
      if (sameRoute(member.routes.request, request) && sameRoute(member.routes.response, response)) {
        return member;
      }
    }
    return undefined;
  }

  #open(routes: Routes, options: IsoTpOptions | undefined): IsoTpTransport {
    this.#alive();
    const member: Member = {
      routes,
      transport: new IsoTpTransport(
        `${this.#node.bus.name} ${showRoute(routes.request)}→${showRoute(routes.response)}`,
        this.#node,
        routes,
        settingsFor({ ...this.#options, ...options }),
        { nextRequest: () => ++this.#requests, left: () => this.#members.delete(member) },
      ),
    };
    this.#members.add(member);
    for (const group of this.#groups) join(member, group);
    return member.transport;
  }
}

/** Makes an ECU a member of a group that takes answers of all. */
function join({ routes, transport }: Member, { any, transport: group }: Group): void {
  if (any !== undefined && sameRoute({ ...routes.response, mask: any.mask }, any)) group.add(transport);
}

function defaultResponders(address: IsoTpFunctionalAddress): readonly IsoTpAddress[] | "any" {
  if (address.format === "normal_fixed" || address.format === "mixed_29") return "any";
  if (address.format === "normal" && address.requestId === 0x7df && address.idBits !== 29) {
    return obdResponders();
  }
  throw new RangeError(
    `responders: expected the ECUs that may answer, as ${address.format} addresses do not tell them`,
  );
}

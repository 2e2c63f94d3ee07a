// One tester's link to an endpoint: requests go in as they come, responses go out one after the other.

import type { Addressing, DiagnosticEndpoint, RequestContext } from "../uds/transport.ts";
import { type Routes, showRoute } from "./address.ts";
import type { IsoTpError } from "./errors.ts";
import { IsoTpLink } from "./link.ts";
import type { IsoTpNode } from "./node.ts";
import type { Admission } from "./receiver.ts";
import type { IsoTpSettings } from "./settings.ts";

/** Room for requests that are under way. */
export interface ReceiveBudget {
  admit(length: number): Admission;
  released(length: number): void;
}

/** What a link is made of. */
export interface ServerLinkOptions {
  readonly routes: Routes;
  readonly tester: number;
  readonly settings: IsoTpSettings;
  readonly budget: ReceiveBudget;
}

/** Joins a tester and an endpoint. */
export class ServerLink {
  readonly name: string;
  readonly #link: IsoTpLink;
  readonly #endpoint: DiagnosticEndpoint;
  readonly #settings: IsoTpSettings;
  readonly #contexts: Record<Addressing, RequestContext>;
  readonly #responses: Uint8Array[] = [];
  readonly #respond = (response: Uint8Array): void => this.#queue(response);
  #bytes = 0;
  #sending = false;
  #closed = false;
  #spoken = false;

  constructor(node: IsoTpNode, endpoint: DiagnosticEndpoint, options: ServerLinkOptions) {
    const { routes, tester, settings, budget } = options;
    const name = `${node.bus.name} ${showRoute(routes.response)}→${showRoute(routes.request)}`;
    this.name = name;
    this.#endpoint = endpoint;
    this.#settings = settings;
    this.#contexts = {
      physical: { tester, addressing: "physical" },
      functional: { tester, addressing: "functional" },
    };
    this.#link = new IsoTpLink(
      { name, bus: node.bus, out: routes.response, in: routes.request, settings },
      {
        admit: (length) => budget.admit(length),
        released: (length) => budget.released(length),
        began: () => {},
        refused: () => {},
        received: (message) => this.request(message, "physical"),
        failed: (error) => settings.log(error.message),
      },
    );
  }

  /** A payload for this link. */
  frame(data: Uint8Array): void {
    this.#link.frame(data);
  }

  /** A whole request. */
  request(message: Uint8Array, addressing: Addressing): void {
    this.#spoken = true;
    try {
      this.#endpoint.handle(message, this.#contexts[addressing], this.#respond);
    } catch (error) {
      // The others on this bus are served all the same.
      this.#settings.log(
        `${this.name}: the ECU failed on a request: ${error instanceof Error ? error.stack : String(error)}`,
      );
    }
  }

  /** Ends the link and what the endpoint tied to its tester. */
  close(error: IsoTpError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#responses.length = 0;
    this.#link.stop(error);
    if (this.#spoken) this.#endpoint.disconnected?.(this.#contexts.physical.tester);
  }

  #queue(response: Uint8Array): void {
    if (this.#closed) return;
    const { maxQueuedMessages, maxQueuedBytes, log } = this.#settings;
    if (
      this.#responses.length >= maxQueuedMessages ||
      (this.#responses.length > 0 && this.#bytes + response.length > maxQueuedBytes)
    ) {
      log(
        `${this.name}: ${this.#responses.length} responses wait; one of ${response.length} bytes is dropped`,
      );
      return;
    }
    this.#responses.push(response.slice());
    this.#bytes += response.length;
    if (!this.#sending) this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    for (let response; (response = this.#responses.shift()) !== undefined;) {
      this.#bytes -= response.length;
      try {
        await this.#link.send(response);
      } catch (error) {
        // The tester does not get this one; it has its own time-outs. The next may go through.
        this.#settings.log(error instanceof Error ? error.message : `${this.name}: ${String(error)}`);
      }
    }
    this.#bytes = 0;
    this.#sending = false;
  }
}

// A server or a client of the engine: its settings, kept so that an instance that replaces a dead one can have them too.

import { BadCredentials } from "../errors.ts";
import { EngineConnection } from "./connection.ts";
import { currentInstance, type Instance } from "./instance.ts";
import { type ClientSettings, encodeClient, encodeServer, type ServerSettings } from "./settings.ts";

/** Where instances come from. Tests give their own, with a host of their own. */
export type InstanceSource = () => Instance;

/** The part of the module that a handle belongs to. */
type Kind = "server" | "client";

/** Settings, and the handle that they have in the instance that is in use. */
class Endpoint {
  readonly #kind: Kind;
  readonly #settings: Uint8Array<ArrayBuffer>;
  readonly #source: InstanceSource;
  #instance: Instance | undefined;
  #handle = 0;
  #freed = false;

  constructor(kind: Kind, settings: Uint8Array<ArrayBuffer>, source: InstanceSource) {
    this.#kind = kind;
    this.#settings = settings;
    this.#source = source;
    this.use(); // Says at once what is wrong with the settings.
  }

  /** The instance in use, with the handle in it. */
  use(): { instance: Instance; handle: number } {
    if (this.#freed) throw new TypeError(`this TLS ${this.#kind} was freed`);
    const instance = this.#instance?.trap === undefined ? this.#instance ?? this.#source() : this.#source();
    if (instance !== this.#instance) {
      instance.give(this.#settings);
      const handle = instance.call(`${this.#kind}_new`, this.#settings.length);
      if (handle === 0) {
        throw new BadCredentials(
          `TLS ${this.#kind}: ${instance.replyText(instance.call("reply_length"))}`,
        );
      }
      this.#instance = instance;
      this.#handle = handle;
    }
    return { instance, handle: this.#handle };
  }

  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#settings.fill(0); // A private key is in there.
    if (this.#instance?.trap === undefined) this.#instance?.call(`${this.#kind}_free`, this.#handle);
  }
}

/** Accepts connections. One serves any number of them. */
export class EngineServer {
  readonly #endpoint: Endpoint;

  /**
   * @throws {RangeError} for a name that the engine does not know, or a number out of range.
   * @throws {BadCredentials} when a certificate or a key cannot be read, or they do not belong together.
   */
  constructor(settings: ServerSettings, source: InstanceSource = currentInstance) {
    this.#endpoint = new Endpoint("server", encodeServer(settings), source);
  }

  /** The server's end of a new connection. */
  accept(): EngineConnection {
    const { instance, handle } = this.#endpoint.use();
    return new EngineConnection(instance, instance.call("connection_accept", handle));
  }

  /** Gives back what the engine holds. Connections that were accepted live on. */
  free(): void {
    this.#endpoint.free();
  }
}

/** Makes connections. One serves any number of them, and remembers their sessions. */
export class EngineClient {
  readonly #endpoint: Endpoint;

  /**
   * @throws {RangeError} for a name that the engine does not know.
   * @throws {BadCredentials} when a certificate or a key cannot be read, or they do not belong together.
   */
  constructor(settings: ClientSettings, source: InstanceSource = currentInstance) {
    this.#endpoint = new Endpoint("client", encodeClient(settings), source);
  }

  /**
   * The client's end of a new connection; its ClientHello waits to be taken.
   *
   * @param serverName Name or address that the server's certificate must carry.
   * @throws {RangeError} when it is neither.
   */
  connect(serverName: string): EngineConnection {
    const { instance, handle } = this.#endpoint.use();
    const name = new TextEncoder().encode(serverName);
    instance.give(name);
    const connection = instance.call("connection_connect", handle, name.length);
    if (connection === 0) {
      throw new RangeError(`${instance.replyText(instance.call("reply_length"))}, got ${serverName}`);
    }
    return new EngineConnection(instance, connection);
  }

  /** Gives back what the engine holds, the remembered sessions too. Connections that were made live on. */
  free(): void {
    this.#endpoint.free();
  }
}

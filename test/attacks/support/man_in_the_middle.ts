// Between a vehicle and the real server: a listener with the server's stolen key and certificate that passes on what the vehicle
// sends, by the vehicle's own stolen certificate, unless a test says otherwise. Who has taken over the server's machine can do as much.

import { Buffer } from "node:buffer";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { request } from "undici";
import type { PackageManifest } from "../../../src/contract/package.ts";
import { defaultProfileId, profileById } from "../../../src/pqc/profiles.ts";
import { connect } from "../../../src/tls/connect.ts";
import { type HttpsAgent, httpsAgent } from "../../../src/tls/https_agent.ts";
import { listen } from "../../../src/tls/listen.ts";
import type { Credentials, TlsListener } from "../../../src/tls/types.ts";
import type { RepositoryName } from "../../../src/uptane/models.ts";
import { publishPacket } from "../../support/mqtt_packets.ts";
import { serveFile } from "../../vmg/support/counterpart.ts";

/** A request that goes by. */
export interface Passing {
  readonly method: string;
  /** Without a query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** An answer, whole. */
export interface Passed {
  status: number;
  headers?: Record<string, string>;
  bytes: Uint8Array;
}

/** What is done to a request: answers it, or takes the response over. @param forward asks the server */
export type Act = (
  passing: Passing,
  forward: () => Promise<Passed>,
  response: ServerResponse,
) => Promise<Passed | "taken"> | Passed | "taken";

/** A command that went by, or is put in: START_OTA_UPDATE and the like. */
export type Command = Record<string, unknown>;

export interface ManInTheMiddleOptions {
  hostname: string;
  vin: string;
  /** The server's, stolen. */
  server: Credentials;
  /** The vehicle's, stolen. */
  vehicle: Credentials;
  trust: string;
  https: () => number;
  mqtt: () => number;
}

/** Makes a vehicle's files of a repository, as they are to be given out, by name. */
export type Forgery = () => Promise<ReadonlyMap<string, Uint8Array>>;

const headersUp = ["content-type", "range", "if-range", "if-none-match"];
const headersDown = ["content-type", "content-range", "etag", "accept-ranges"];
/** Packet identifiers of what is put in: the server's own begin at 1. */
const firstOwnPacket = 50_000;

export class ManInTheMiddle implements AsyncDisposable {
  /** Commands on their way to the vehicle, in order. */
  readonly commands: Command[] = [];
  /** Bodies of the vehicle's reports (VCI), in order. */
  readonly reports: Command[] = [];
  /** What becomes of a command; undefined: it is dropped. */
  onCommand: (command: Command) => Command | undefined = (command) => command;
  readonly #options: ManInTheMiddleOptions;
  readonly #agent: HttpsAgent;
  readonly #rules: { match: RegExp; act: Act }[] = [];
  readonly #open = new Set<Duplex>();
  readonly #vehicles = new Set<Duplex>();
  #https!: TlsListener;
  #mqtt!: TlsListener;
  #packets = firstOwnPacket;

  private constructor(options: ManInTheMiddleOptions) {
    this.#options = options;
    const { vehicle: credentials, trust } = options;
    this.#agent = httpsAgent({ credentials, trust, connections: 4 });
  }

  static async start(options: ManInTheMiddleOptions): Promise<ManInTheMiddle> {
    const made = new ManInTheMiddle(options);
    const { hostname, trust, server: credentials } = options;
    const offers = [{ profile: profileById(defaultProfileId), credentials }];
    const http = createServer((incoming, response) => void made.#serve(incoming, response));
    // The runtime's server ends a connection after one answer unless it listens itself.
    Object.defineProperty(http, "listening", { value: true });
    const common = { hostname, port: 0, offers, trust };
    made.#https = await listen({
      ...common,
      onConnection: ({ stream }) => {
        made.#keep(stream);
        http.emit("connection", stream);
      },
    });
    made.#mqtt = await listen({ ...common, onConnection: ({ stream }) => void made.#join(stream) });
    return made;
  }

  get httpsPort(): number {
    return this.#https.port;
  }

  get mqttPort(): number {
    return this.#mqtt.port;
  }

  /** Does something to requests from now on; the latest rule that matches counts. @param path a RegExp source, matched whole */
  on(method: string, path: string, act: Act): void {
    this.#rules.unshift({ match: new RegExp(`^${method} ${path}$`), act });
  }

  /** Is honest from now on. */
  rest(): void {
    this.#rules.length = 0;
    this.onCommand = (command) => command;
  }

  /** Gives out these files in place of the server's. */
  give(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>): void {
    this.on("GET", `${base(repository)}/([^/]+)`, ({ path }, forward) => {
      const bytes = files.get(path.slice(path.lastIndexOf("/") + 1));
      return bytes === undefined ? forward() : { status: 200, bytes };
    });
  }

  /** Gives out what is made whenever the vehicle asks for the timestamp, which it does first in each look, roots aside. */
  forge(repository: RepositoryName, forgery: Forgery): void {
    let files: ReadonlyMap<string, Uint8Array> = new Map();
    this.on("GET", `${base(repository)}/([^/]+)`, async ({ path }, forward) => {
      const name = path.slice(path.lastIndexOf("/") + 1);
      if (name === "timestamp.json") files = await forgery();
      const bytes = files.get(name);
      return bytes === undefined ? await forward() : { status: 200, bytes };
    });
  }

  /** Gives out another package in place of each. */
  swapPackage(make: (manifest: PackageManifest) => Promise<Uint8Array>): void {
    const made = new Map<string, Promise<Uint8Array>>();
    this.on("GET", "/api/v1/ota/package/[^/]+", async (passing, _forward, response): Promise<"taken"> => {
      const { method, path, headers } = passing;
      if (!made.has(path)) {
        const answer = await this.#forward({ ...passing, headers: {}, path: `${path}/manifest` });
        made.set(path, make(JSON.parse(new TextDecoder().decode(answer.bytes)).manifest));
      }
      const bytes = await made.get(path) ?? new Uint8Array();
      const { handler } = serveFile({ bytes, etag: () => `"${path}"` });
      handler({ method, path, headers, body: undefined }, response);
      return "taken";
    });
  }

  /** Puts a command in, as if it came from the server. */
  inject(topic: string, command: Command): void {
    for (const vehicle of this.#vehicles) {
      vehicle.write(publishPacket(this.#packets++, topic, JSON.stringify(command)));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#https.close(), this.#mqtt.close()]);
    for (const stream of this.#open) stream.destroy();
    await this.#agent.destroy();
  }

  #keep(stream: Duplex): void {
    this.#open.add(stream);
    stream.on("error", () => {}); // An end that is cut is seen by its close.
    stream.once("close", () => this.#open.delete(stream));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const parts: Uint8Array[] = [];
      for await (const part of incoming) parts.push(part);
      const { method = "", url = "", headers } = incoming;
      const path = url.split("?")[0];
      const body = new Uint8Array(Buffer.concat(parts));
      if (path.endsWith("/vci")) this.reports.push(JSON.parse(new TextDecoder().decode(body)));
      const passing = { method, path, headers, body };
      const forward = () => this.#forward(passing, url);
      const rule = this.#rules.find(({ match }) => match.test(`${method} ${path}`));
      const answer = await (rule === undefined ? forward() : rule.act(passing, forward, response));
      if (answer === "taken") return;
      const { status, headers: given, bytes } = answer;
      response.writeHead(status, { ...given, "content-length": bytes.length });
      response.end(bytes);
    } catch {
      // One of the two ends went away in the middle of it: so does the other.
      response.destroy();
    }
  }

  async #forward({ method, path, headers, body }: Passing, url = path): Promise<Passed> {
    const { hostname, https } = this.#options;
    const answer = await request(`https://${hostname}:${https()}${url}`, {
      dispatcher: this.#agent,
      method: method === "POST" ? "POST" : "GET",
      body: body.length === 0 ? null : body,
      headers: pick(headersUp, headers),
    });
    return {
      status: answer.statusCode,
      headers: pick(headersDown, answer.headers),
      bytes: new Uint8Array(await answer.body.arrayBuffer()),
    };
  }

  /** Joins a vehicle's MQTT connection to one of its own to the server. */
  async #join(vehicle: Duplex): Promise<void> {
    this.#keep(vehicle);
    const early: Uint8Array[] = [];
    let up: (packet: Uint8Array) => void = (packet) => early.push(packet);
    split(vehicle, (packet) => {
      // PUBACK (MQTT 3.1.1, 3.4) of what was put in here is nothing to the server.
      if (packet[0] === 0x40 && (packet[2] << 8 | packet[3]) >= firstOwnPacket) return;
      up(packet);
    });
    const { hostname, mqtt, vehicle: credentials, trust } = this.#options;
    let server: Duplex;
    try {
      server = (await connect({ hostname, port: mqtt(), credentials, trust })).stream;
    } catch {
      vehicle.destroy();
      return;
    }
    this.#keep(server);
    this.#vehicles.add(vehicle);
    vehicle.once("close", () => {
      this.#vehicles.delete(vehicle);
      server.destroy();
    });
    server.once("close", () => vehicle.destroy());
    split(server, (packet) => {
      const passed = this.#control(packet);
      if (passed !== undefined) vehicle.write(passed);
    });
    up = (packet) => server.write(packet);
    for (const packet of early) up(packet);
  }

  /** A packet of the server's, as the vehicle gets it. */
  #control(packet: Uint8Array): Uint8Array | undefined {
    const publish = readPublish(packet);
    if (publish === undefined || !publish.topic.endsWith("/control")) return packet;
    const command: Command = JSON.parse(publish.payload);
    this.commands.push(command);
    const wanted = this.onCommand(command);
    if (wanted === command) return packet;
    return wanted && publishPacket(publish.id, publish.topic, JSON.stringify(wanted));
  }
}

function base(repository: RepositoryName): string {
  return `/api/v1/uptane/${repository === "director" ? "director/[^/]+" : "image"}`;
}

function pick(names: readonly string[], headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => {
    const value = headers[name];
    return typeof value === "string" ? [[name, value]] : [];
  }));
}

/** MQTT 3.1.1, 2.2: packets of a stream, whole. */
function split(stream: Duplex, onPacket: (packet: Uint8Array) => void): void {
  let rest: Uint8Array = new Uint8Array();
  stream.on("data", (chunk: Uint8Array) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      let length = 0;
      let at = 1;
      for (let shift = 0;; shift += 7) {
        if (at >= rest.length) return;
        length |= (rest[at] & 0x7f) << shift;
        if ((rest[at++] & 0x80) === 0) break;
      }
      if (rest.length < at + length) return;
      onPacket(rest.subarray(0, at + length));
      rest = rest.subarray(at + length);
    }
  });
}

/** MQTT 3.1.1, 3.3, of QoS 1; undefined for another packet. */
function readPublish(packet: Uint8Array): { topic: string; id: number; payload: string } | undefined {
  if (packet[0] >> 4 !== 3 || (packet[0] & 6) !== 2) return undefined;
  let at = 1;
  while ((packet[at++] & 0x80) !== 0);
  const text = (from: number, to?: number) => new TextDecoder().decode(packet.subarray(from, to));
  const topicEnd = at + 2 + (packet[at] << 8 | packet[at + 1]);
  const id = packet[topicEnd] << 8 | packet[topicEnd + 1];
  return { topic: text(at + 2, topicEnd), id, payload: text(topicEnd + 2) };
}

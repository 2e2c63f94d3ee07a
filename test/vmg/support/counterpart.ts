// The other end of a gateway's link in tests: a small HTTPS interface with the contract's routes that a vehicle calls, and
// an MQTT broker, both behind mutual TLS. It keeps what came and does what the test tells it.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { Aedes, type Client } from "aedes";
import { defaultProfileId, profileById } from "../../../src/pqc/profiles.ts";
import { listen } from "../../../src/tls/listen.ts";
import type { TestRepositories } from "../../support/repositories.ts";
import type { Credentials, TlsConnection, TlsListener } from "../../../src/tls/types.ts";

/** One REST call that came. */
export interface Call {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: unknown;
}

/** One message that a vehicle published. */
export interface Published {
  topic: string;
  payload: Record<string, unknown>;
  dup: boolean;
}

/** Answers one call: status, JSON body, further headers; or takes the response over. */
export type Handler = (
  call: Call,
  response: ServerResponse,
) => { status: number; body: unknown; headers?: Record<string, string> } | "taken";

/** Options of {@link Counterpart}. */
export interface CounterpartOptions {
  credentials: Credentials;
  trust: string;
  /** @default any free one */
  httpsPort?: number;
  /** @default any free one */
  mqttPort?: number;
  /** @default true */
  mqtt?: boolean;
}

/** Longest wait for anything, milliseconds. */
const limit = 30_000;

/** The running other end. */
export class Counterpart implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly published: Published[] = [];
  /** By `METHOD path`, the path with `{vin}` and ids as they come; a RegExp source is matched whole. */
  readonly handlers: { match: RegExp; handler: Handler }[] = [];
  readonly broker: Aedes;
  #https: TlsListener | undefined;
  #mqtt: TlsListener | undefined;
  readonly #connections = new Set<TlsConnection>();
  readonly #clients = new Set<Client>();
  #changed = Promise.withResolvers<void>();
  #refusing = false;

  private constructor(broker: Aedes) {
    this.broker = broker;
  }

  static async start(options: CounterpartOptions): Promise<Counterpart> {
    const broker = await Aedes.createBroker();
    const counterpart = new Counterpart(broker);
    broker.on("publish", (packet, client) => {
      if (client === null) return;
      const payload = JSON.parse(packet.payload.toString());
      counterpart.published.push({ topic: packet.topic, payload, dup: packet.dup });
      counterpart.#notify();
    });
    const http = createServer((request, response) => void counterpart.#serve(request, response));
    // The runtime's server ends a connection after one answer unless it listens itself.
    Object.defineProperty(http, "listening", { value: true });
    const { credentials, trust } = options;
    const offers = [{ profile: profileById(defaultProfileId), credentials }];
    const keep = (connection: TlsConnection) => {
      counterpart.#connections.add(connection);
      connection.stream.on("error", () => {});
      connection.stream.once("close", () => counterpart.#connections.delete(connection));
    };
    broker.on("client", (client) => counterpart.#clients.add(client));
    broker.on("clientDisconnect", (client) => counterpart.#clients.delete(client));
    counterpart.#https = await listen({
      hostname: "127.0.0.1",
      port: options.httpsPort ?? 0,
      offers,
      trust,
      onConnection: (connection) => {
        keep(connection);
        http.emit("connection", connection.stream);
      },
    });
    if (options.mqtt ?? true) {
      counterpart.#mqtt = await listen({
        hostname: "127.0.0.1",
        port: options.mqttPort ?? 0,
        offers,
        trust,
        onConnection: (connection) => {
          keep(connection);
          if (counterpart.#refusing) connection.stream.destroy();
          else broker.handle(drained(connection.stream));
        },
      });
    }
    counterpart.on("POST", "/api/v1/vehicles/register", ({ body }) => ({
      status: 200,
      body: { status: "registered", vehicle_id: (body as { vin: string }).vin, message: "welcome" },
    }));
    counterpart.on("POST", "/api/v1/vehicles/[^/]+/vci", () => ({
      status: 200,
      body: { status: "stored", outdated_ecus: [], update_available: false },
    }));
    counterpart.on("GET", "/api/v1/vehicles/[^/]+/pending-messages", () => ({
      status: 200,
      body: { messages: [] },
    }));
    counterpart.on("POST", "/api/v1/vehicles/[^/]+/messages", ({ body }) => ({
      status: 200,
      body: {
        accepted: (body as { messages: { message_id: string }[] }).messages.map(({ message_id }) =>
          message_id
        ),
        rejected: [],
      },
    }));
    for (const path of ["/api/v1/vehicles/[^/]+/heartbeat", "/api/v1/ota/status"]) {
      counterpart.on("POST", path, () => ({ status: 200, body: { status: "accepted" } }));
    }
    return counterpart;
  }

  get httpsPort(): number {
    return this.#https?.port ?? 0;
  }

  get mqttPort(): number {
    return this.#mqtt?.port ?? 0;
  }

  /** Answers a route from now on. */
  on(method: string, path: string, handler: Handler): void {
    this.handlers.unshift({ match: new RegExp(`^${method} ${path}$`), handler });
  }

  /** Gives out the files of these repositories, and attests the time. */
  give(repositories: TestRepositories): void {
    for (const method of ["GET", "POST"]) {
      this.on(method, "/api/v1/uptane/.+", (call, response) => {
        void repositories.answer(method, call.path, call.body).then((answer) => {
          response.writeHead(answer?.status ?? 404, {
            "content-type": answer?.status === 200 ? "application/json" : "application/problem+json",
          });
          response.end(answer?.bytes);
          this.#notify();
        });
        return "taken";
      });
    }
  }

  /** Publishes as the server does. */
  async send(topic: string, payload: unknown): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.broker.publish(
        { cmd: "publish", topic, payload: JSON.stringify(payload), qos: 1, retain: false, dup: false },
        (error) => error ? reject(error) : resolve(),
      );
    });
  }

  /** Waits until `find` gives something. */
  async until<T>(what: string, find: () => T | undefined | false): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const seen = this.published.slice(-5).map((message) => JSON.stringify(message)).join("\n");
        reject(new Error(`${what}: not within ${limit} ms; last messages:\n${seen}`));
      }, limit);
    });
    try {
      for (;;) {
        const found = find();
        if (found !== undefined && found !== false) return found;
        const tick = new Promise<void>((resolve) => setTimeout(resolve, 25));
        await Promise.race([this.#changed.promise, tick, late]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits until a vehicle has subscribed to its topics. */
  async connected(): Promise<void> {
    await this.until(
      "the vehicle is online",
      () => this.messages("status").some((p) => p.status === "online"),
    );
  }

  /** Payloads that came on `vehicle/…/{channel}`, in order. */
  messages(channel: string): Record<string, unknown>[] {
    return this.published.filter(({ topic }) => topic.replace(/^vehicle\/[^/]+\//, "") === channel)
      .map(({ payload }) => payload);
  }

  /** Waits for the last report of an update. */
  ended(updateId: string): Promise<Record<string, unknown>> {
    return this.until(
      `update ${updateId} has an end`,
      () =>
        this.messages("ota/status").find((report) =>
          report.update_id === updateId &&
          ["completed", "failed", "cancelled"].includes(String(report.status))
        ),
    );
  }

  /** Ends every MQTT connection as soon as it comes, or lets them be again. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
  }

  /** Ends the MQTT connections and lets those of HTTPS be. */
  async endMqtt(): Promise<void> {
    const clients = [...this.#clients];
    await Promise.all(clients.map((client) => new Promise<void>((resolve) => client.close(resolve))));
  }

  /** Cuts every connection hard. */
  cut(): void {
    for (const { stream } of this.#connections) stream.destroy();
  }

  async close(): Promise<void> {
    await Promise.all([this.#https?.close(), this.#mqtt?.close()]);
    this.cut();
    await new Promise<void>((resolve) => this.broker.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Uint8Array[] = [];
    try {
      for await (const part of request) parts.push(part);
    } catch {
      return; // The connection was cut in the middle of a request.
    }
    const text = new TextDecoder().decode(Uint8Array.from(parts.flatMap((part) => [...part])));
    const { method = "", url = "", headers } = request;
    const path = url.split("?")[0];
    const call = { method, path, headers, body: text === "" ? undefined : JSON.parse(text) };
    this.calls.push(call);
    const found = this.handlers.find(({ match }) => match.test(`${method} ${path}`));
    if (found === undefined) {
      problem(response, 404, `no route ${method} ${path}`);
      return;
    }
    const answer = found.handler(call, response);
    if (answer !== "taken") {
      response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
      response.end(JSON.stringify(answer.body));
    }
    this.#notify();
  }
}

/**
 * The broker reads once for each 'readable' and takes it that this empties the stream; the runtime's read() gives one chunk
 * at a time, so that the rest of a packet in two chunks would lie there until more comes.
 */
function drained(stream: Duplex): Duplex {
  const read = stream.read.bind(stream);
  stream.read = (size?: number) => {
    const first = read(size);
    if (typeof size === "number" || first === null) return first;
    const chunks = [first];
    for (let next = read(); next !== null; next = read()) chunks.push(next);
    return chunks.length === 1 ? first : Buffer.concat(chunks);
  };
  return stream;
}

/** Answers with problem details. */
export function problem(response: ServerResponse, status: number, detail: string): void {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ type: "about:blank", title: "refused", status, detail }));
}

/** What was asked of {@link serveFile}. */
export interface FileLog {
  ranges: (string | undefined)[];
  /** Bytes of the bodies that were handed to connections. */
  sent: number;
}

/** A file over HTTP with Range and If-Range, and what a test makes of it. */
export interface FileOptions {
  bytes: Uint8Array;
  etag: () => string;
  /** Cuts the connection after so many bytes of the n-th answer, counted from 0. @default never */
  cutAfter?: (answer: number) => number | undefined;
}

/** Serves the bytes as RFC 9110 says. */
export function serveFile(options: FileOptions): { handler: Handler; log: FileLog } {
  const log: FileLog = { ranges: [], sent: 0 };
  let answers = 0;
  const handler: Handler = ({ headers }, response) => {
    const { bytes } = options;
    const etag = options.etag();
    const match = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
    const fits = match !== null && (headers["if-range"] ?? etag) === etag;
    const from = fits ? Number(match[1]) : 0;
    const end = fits && match[2] !== "" ? Math.min(Number(match[2]) + 1, bytes.length) : bytes.length;
    log.ranges.push(headers.range);
    const cut = options.cutAfter?.(answers++);
    if (fits && from >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return "taken";
    }
    response.writeHead(fits ? 206 : 200, {
      etag,
      "content-length": end - from,
      ...(fits ? { "content-range": `bytes ${from}-${end - 1}/${bytes.length}` } : {}),
    });
    const body = bytes.subarray(from, cut === undefined ? end : Math.min(from + cut, end));
    log.sent += body.length;
    if (cut === undefined) response.end(body);
    else response.write(body, () => setTimeout(() => response.destroy(), 20));
    return "taken";
  };
  return { handler, log };
}

// The server of the TLS measurements, a program of its own: its memory and its processor time are the server's alone.
//
// Questions: { do: "serve", what: "greeting" | "download" | "plain", setup? } → { port }; { do: "memory" } → { resident, engine },
// bytes; { do: "time" } → { milliseconds } of processor time so far. It ends with its input.

import { createServer } from "node:http";
import process from "node:process";
import { Readable } from "node:stream";
import { currentInstance } from "../../src/tls/engine/instance.ts";
import { listen } from "../../src/tls/listen.ts";
import type { TlsConnection } from "../../src/tls/types.ts";
import type { Answer } from "./peer.ts";
import type { Setup } from "./tls_setup.ts";

interface ServeTls {
  do: "serve";
  what: "greeting" | "download";
  setup: Setup;
}

type Question =
  | ServeTls
  | { do: "serve"; what: "plain"; length: number }
  | { do: "memory" }
  | { do: "time" };

const hostname = "127.0.0.1";
const part = new Uint8Array(65_536).fill(0x5a);

/** Answers with as many bytes as the path says. */
const http = createServer((request, response) => {
  const length = Number(request.url?.slice(1));
  response.setHeader("content-length", length);
  Readable.from(parts(length)).pipe(response);
});
// The runtime's server ends a connection after one answer unless it listens itself.
Object.defineProperty(http, "listening", { value: true });

function* parts(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= part.length) yield part.subarray(0, Math.min(left, part.length));
}

/** One byte, by which a client knows that the server's side of the handshake is done too. */
function greet({ stream }: TlsConnection): void {
  stream.write(Uint8Array.of(1));
  stream.resume().once("end", () => stream.end());
}

async function serveTls({ what, setup }: ServeTls): Promise<number> {
  const { port } = await listen({
    hostname,
    port: 0,
    offers: [{ profile: setup.profile, credentials: setup.server }],
    trust: setup.trust,
    // Slow ones are measured too, and not cut, on a machine with other work.
    handshakeTimeout: 60_000,
    onConnection: what === "greeting" ? greet : ({ stream }) => void http.emit("connection", stream),
    onRefused: (error) => console.error(error.message),
  });
  return port;
}

/** The bytes over TCP alone, to each that connects. */
function servePlain(length: number): number {
  const listener = Deno.listen({ hostname, port: 0 });
  void (async () => {
    for await (const conn of listener) {
      for (const bytes of parts(length)) {
        for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
      }
      conn.close();
    }
  })();
  return listener.addr.port;
}

async function answer(question: Question): Promise<Answer> {
  switch (question.do) {
    case "serve":
      return { port: question.what === "plain" ? servePlain(question.length) : await serveTls(question) };
    case "memory":
      // Given by --expose-gc: what nobody holds any more shall not count.
      Reflect.get(globalThis, "gc")();
      return { resident: Deno.memoryUsage().rss, engine: currentInstance().memorySize };
    case "time": {
      const { user, system } = process.cpuUsage();
      return { milliseconds: (user + system) / 1000 };
    }
  }
}

let text = "";
for await (const more of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  text += more;
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
    const question: Question = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    console.log(JSON.stringify(await answer(question)));
  }
}
Deno.exit(0);

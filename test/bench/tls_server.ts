// The server of the TLS measurements, in a thread of its own: HTTPS that answers with as many bytes as the path says.

import { createServer } from "node:http";
import { Readable } from "node:stream";
import { profileById } from "../../src/pqc/profiles.ts";
import { listen } from "../../src/tls/listen.ts";
import type { Credentials } from "../../src/tls/types.ts";

/** What the thread is started with. */
export interface ServerSetup {
  profile: number;
  credentials: Credentials;
  trust: string;
}

const part = new Uint8Array(65_536).fill(0x5a);

const http = createServer((request, response) => {
  const length = Number(request.url?.slice(1));
  response.setHeader("content-length", length);
  Readable.from(function* () {
    for (let left = length; left > 0; left -= part.length) {
      yield part.subarray(0, Math.min(left, part.length));
    }
  }()).pipe(response);
});
Object.defineProperty(http, "listening", { value: true });

self.addEventListener("message", async ({ data }: MessageEvent<ServerSetup>) => {
  const { profile, credentials, trust } = data;
  const { port } = await listen({
    hostname: "127.0.0.1",
    port: 0,
    offers: [{ profile: profileById(profile), credentials }],
    trust,
    onConnection: ({ stream }) => void http.emit("connection", stream),
  });
  self.postMessage(port);
});

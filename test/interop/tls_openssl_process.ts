// OpenSSL 3.5 as a TLS peer: a process of Node.js 24 that runs tls_openssl_peer.cjs, and what it says.

import { fileURLToPath } from "node:url";
import { throughNpx } from "../support/npx.ts";
import type { Peer } from "../support/peers.ts";
import type { TestCredentials } from "../tls/engine/support.ts";

const install = "npx -y node@24 --version";

/** Where npm keeps it; nothing when its OpenSSL is another. */
const node24 = throughNpx(
  "node@24",
  "-p",
  "process.versions.openssl.startsWith('3.5') ? process.execPath : ''",
);

/** Node.js 24; by a name that no program has where it cannot be had. */
export const openssl: Peer = { command: node24 || "node@24", probe: ["--version"], install };

const pem = (label: string, der: Uint8Array) =>
  `-----BEGIN ${label}-----\n${der.toBase64().replace(/.{64}/g, "$&\n")}\n-----END ${label}-----\n`;
/** Certificates, DER, as PEM. */
export const certificates = (chain: Uint8Array[]) => chain.map((der) => pem("CERTIFICATE", der)).join("");
/** A chain and its key as the peer takes them. */
export const credentials = ({ certificateChain, privateKey }: TestCredentials) => ({
  cert: certificates(certificateChain),
  key: pem("PRIVATE KEY", privateKey),
});

/** What the peer says of itself, a line each. */
export interface Line {
  name: string;
  port?: number;
  established?: { cipher: string; version: string; reused: boolean };
  peer?: string;
  echoed?: string;
  error?: string;
}

/** The peer's process. */
export class OpenSsl implements AsyncDisposable {
  readonly #process = new Deno.Command(openssl.command, {
    args: [fileURLToPath(new URL("./tls_openssl_peer.cjs", import.meta.url))],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  readonly #input = this.#process.stdin.getWriter();
  readonly #lines: Line[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #reading = this.#read();

  async #read(): Promise<void> {
    let text = "";
    for await (const part of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      text += part;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      this.#lines.push(...lines.map((line): Line => JSON.parse(line)));
      for (const wake of this.#waiting) wake();
    }
  }

  async start(cases: object[]): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(cases)}\n`));
  }

  /** The first line of that name for which `select` gives something. */
  async expect<T>(name: string, select: (line: Line) => T | undefined): Promise<T> {
    const deadline = AbortSignal.timeout(20_000);
    while (true) {
      for (const line of this.#lines) {
        const found = line.name === name ? select(line) : undefined;
        if (found !== undefined) return found;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const late = () =>
        reject(new Error(`${name}: no such line within 20 s: ${JSON.stringify(this.#lines.slice(-5))}`));
      deadline.addEventListener("abort", late, { once: true });
      this.#waiting.add(resolve);
      try {
        await promise;
      } finally {
        this.#waiting.delete(resolve);
        deadline.removeEventListener("abort", late);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    await this.#process.status;
    await this.#reading;
  }
}

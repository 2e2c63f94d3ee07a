// TLS by the engine: handshakes, new connections beside a Node.js 24 server, records, a download, memory.

import { request } from "undici";
import { certificatePem, generateKeyPair, makeAuthority } from "../../src/pqc/certificates.ts";
import { type CertificateAlgorithm, loadProfiles, profileById } from "../../src/pqc/profiles.ts";
import { connect } from "../../src/tls/connect.ts";
import type { EngineConnection } from "../../src/tls/engine/connection.ts";
import { currentInstance } from "../../src/tls/engine/instance.ts";
import { cipherSuites } from "../../src/tls/engine/numbers.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import { clientLeaf, serverLeaf } from "../support/certificates.ts";
import { client, deliver, handshake, server } from "../tls/engine/support.ts";
import type { BenchRow } from "./row.ts";
import type { ServerSetup } from "./tls_server.ts";

const mebibyte = 1024 * 1024;
const download = 256 * mebibyte;
/** Handshakes before and while the clock runs. */
const rounds = { warm: 60, timed: 60 } as const;
const newConnections = 600;
/** Connections that are open at once for the figure of memory. */
const openConnections = 1_000;

export async function run(): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const setup = await makeSetup(2, "ECDSA P-256");
  let perConnection: number;
  {
    using first = await serve(setup.server);
    // Before all else that the engine keeps memory for: what was freed would be used again.
    perConnection = await memory(first.port, setup.server, setup.credentials);
  }
  for (const { id, groups, certificateAlgorithm } of loadProfiles()) {
    const name = `profile ${id} (${groups[0]}, ${certificateAlgorithm})`;
    rows.push({
      what: `handshake, both ends, ${name}`,
      value: `${(await handshakes(id, false)).toFixed(2)} ms`,
    });
    rows.push({
      what: `resumed, both ends, ${name}`,
      value: `${(await handshakes(id, true)).toFixed(2)} ms`,
    });
  }
  for (const suite of cipherSuites.names) {
    const { sealed, opened } = await records(suite);
    rows.push({ what: `seal and open, ${suite}`, value: `${sealed} and ${opened} MiB/s` });
  }
  {
    using ours = await serve(setup.server);
    const rate = await connections(ours.port, setup.server, setup.credentials);
    const beside = await besideNode(setup.server, setup.credentials);
    rows.push({ what: "new mutual-TLS connections, profile 2, our client", value: `${rate}/s`, beside });
    rows.push({
      what: "256 MiB over HTTPS, server in a thread",
      value: `${await megabytes(ours.port, setup.server, setup.credentials)} MB/s`,
    });
    rows.push({
      what: "engine's memory for a client's connection",
      value: `${perConnection} KiB`,
    });
  }
  return rows;
}

async function makeSetup(profile: number, algorithm: CertificateAlgorithm) {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  const certificate = await makeAuthority({ privateKey, publicKey }, [{ CN: ["Bench CA"] }], 30, new Date());
  const trust = certificatePem(certificate);
  const authority = { issued: { certificate, privateKey }, trust };
  const setup: ServerSetup = { profile, credentials: await serverLeaf(authority), trust };
  return { server: setup, credentials: await clientLeaf(authority) };
}

/** The middle of the times of one handshake with mutual TLS, both ends in this thread, ms. */
async function handshakes(id: number, resumption: boolean): Promise<number> {
  const near = await client(id, { resumption });
  const far = await server(id);
  const times: number[] = [];
  for (let round = 0; round < rounds.warm + rounds.timed; round++) {
    const began = performance.now();
    const pair = handshake(near, far);
    times.push(performance.now() - began);
    pair.near.free();
    pair.far.free();
  }
  near.free();
  far.free();
  return times.slice(rounds.warm).sort((a, b) => a - b)[rounds.timed / 2];
}

/** MiB a second of 64 KiB writes. */
async function records(suite: string): Promise<{ sealed: number; opened: number }> {
  const { near, far } = handshake(await client(2, { cipherSuites: [suite] }), await server(2));
  const data = new Uint8Array(65_536);
  let sealing = 0;
  let opening = 0;
  for (let round = 0; round < 1_024; round++) {
    if (round === 256) sealing = opening = 0;
    const began = performance.now();
    near.write(data);
    const sealed = performance.now();
    deliver(near, far);
    drop(far);
    sealing += sealed - began;
    opening += performance.now() - sealed;
  }
  const speed = (ms: number) => Math.round(48 / (ms / 1000));
  return { sealed: speed(sealing), opened: speed(opening) };
}

/** Reads and drops what waits. */
function drop(end: EngineConnection): void {
  while (end.read() !== undefined);
}

/** Our server in a thread. */
async function serve(setup: ServerSetup): Promise<{ port: number } & Disposable> {
  const worker = new Worker(new URL("./tls_server.ts", import.meta.url), { type: "module" });
  const port = await new Promise<number>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (error) => reject(error);
    worker.postMessage(setup);
  });
  return { port, [Symbol.dispose]: () => worker.terminate() };
}

/** New connections a second, eight at a time, none of them resumed. */
async function connections(
  port: number,
  { trust, profile }: ServerSetup,
  credentials: ServerSetup["credentials"],
) {
  const open = async () => {
    const { stream } = await connect({
      hostname: "127.0.0.1",
      port,
      // An object of its own has no sessions.
      credentials: { ...credentials },
      profile: profileById(profile),
      trust,
    });
    stream.destroy();
  };
  const all = async (count: number) => {
    let left = count;
    await Promise.all(Array.from({ length: 8 }, async () => {
      while (left-- > 0) await open();
    }));
  };
  await all(200);
  const began = performance.now();
  await all(newConnections);
  return Math.round(newConnections / ((performance.now() - began) / 1000));
}

async function besideNode(setup: ServerSetup, credentials: ServerSetup["credentials"]) {
  let node: Deno.ChildProcess;
  try {
    node = new Deno.Command("npx", {
      args: ["-y", "node@24", new URL("./tls_node_server.cjs", import.meta.url).pathname],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const writer = node.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(setup)));
  await writer.close();
  const reader = node.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    const { value } = await reader.read();
    const port = Number(value);
    return port > 0 ? `${await connections(port, setup, credentials)}/s at Node.js 24's server` : undefined;
  } finally {
    node.kill("SIGTERM");
    await reader.cancel();
    await node.status;
  }
}

/** A download end to end, millions of bytes a second. */
async function megabytes(
  port: number,
  { trust, profile }: ServerSetup,
  credentials: ServerSetup["credentials"],
) {
  const dispatcher = httpsAgent({ credentials, profile: profileById(profile), trust });
  try {
    const get = async (length: number) => {
      const { body } = await request(`https://127.0.0.1:${port}/${length}`, { dispatcher });
      for await (const _ of body);
    };
    await get(32 * mebibyte);
    const began = performance.now();
    await get(download);
    return Math.round(download / 1e6 / ((performance.now() - began) / 1000));
  } finally {
    await dispatcher.destroy();
  }
}

/** What the engine's memory grows by for each connection that is open, KiB. */
async function memory(
  port: number,
  { trust, profile }: ServerSetup,
  credentials: ServerSetup["credentials"],
) {
  const before = currentInstance().memorySize;
  const open = await Promise.all(
    Array.from(
      { length: openConnections },
      () => connect({ hostname: "127.0.0.1", port, credentials, profile: profileById(profile), trust }),
    ),
  );
  const grown = currentInstance().memorySize - before;
  for (const { stream } of open) stream.destroy();
  return Math.round(grown / 1024 / open.length);
}

// TLS by the engine beside Node.js 24, whose TLS is OpenSSL 3.5: handshakes, records, new connections, a download, memory.

import { request } from "undici";
import { httpsAgent } from "../../src/tls/https_agent.ts";
import type { EngineConnection } from "../../src/tls/engine/connection.ts";
import { EngineClient, EngineServer } from "../../src/tls/engine/endpoint.ts";
import { cipherSuites } from "../../src/tls/engine/numbers.ts";
import { certificatesFromPem } from "../../src/tls/engine/pem.ts";
import { engineOffer } from "../../src/tls/engine_link.ts";
import { deliver, handshake } from "../tls/engine/support.ts";
import { type Answer, Peer } from "./peer.ts";
import type { BenchRow } from "./row.ts";
import { makeSetups, nameOf, type Setup } from "./tls_setup.ts";

const mebibyte = 1024 * 1024;
const download = 256 * mebibyte;
/** Handshakes before and while the clock runs. */
const rounds = { warm: 40, timed: 60 } as const;
/** Profiles that new connections are measured with: the default, and one without classical cryptography. */
const connectionProfiles = [2, 8];
/** New connections of each client in a round, at once, and rounds. */
const newConnections = { count: 250, atOnce: 8, rounds: 3 } as const;
/** Connections that are open when memory is read: what lies between is theirs. */
const heldConnections = [500, 2_000] as const;

/** A session holds both ends' certificates: with others than these it is too large for Node.js. */
const resumedByNode: ReadonlySet<string> = new Set(["ECDSA P-256", "ML-DSA-44"]);

/** Node.js in the three parts that it plays; without npx there is none. */
interface Nodes {
  readonly server: Peer;
  readonly clients: readonly [Peer, Peer];
}

export async function run(): Promise<BenchRow[]> {
  const setups = await makeSetups();
  await using stack = new AsyncDisposableStack();
  const ours = stack.use(startOurs());
  const nodes = await startNodes(stack);
  const rows: BenchRow[] = [];
  for (const setup of setups) rows.push(...await handshakeRows(setup, nodes?.server));
  for (const suite of cipherSuites.names) rows.push(await recordsRow(suite, setups[2], nodes?.server));
  if (nodes === undefined) {
    rows.push({
      what: "new connections and memory",
      value: "not measured: npx does not bring node@24 here",
    });
  } else {
    for (const id of connectionProfiles) rows.push(await connectionsRow(setups[id], ours, nodes));
    rows.push(...await memoryRows(setups[2], nodes));
  }
  rows.push(await downloadRow(setups[2], ours));
  return rows;
}

/** Our server in a process of its own. */
function startOurs(): Peer {
  const file = new URL("./tls_server.ts", import.meta.url).pathname;
  return Peer.start(Deno.execPath(), ["run", "-q", "-P=bench", "--v8-flags=--expose-gc", file]);
}

async function startNodes(stack: AsyncDisposableStack): Promise<Nodes | undefined> {
  const node = await findNode();
  if (node === undefined) return undefined;
  const start = () => stack.use(Peer.start(node, [new URL("./tls_node.cjs", import.meta.url).pathname]));
  return { server: start(), clients: [start(), start()] };
}

/** Where npx keeps Node.js 24. */
async function findNode(): Promise<string | undefined> {
  const args = ["-y", "node@24", "-p", "process.execPath"];
  try {
    const { success, stdout } = await new Deno.Command("npx", { args, stdin: "null", stderr: "null" })
      .output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function handshakeRows(setup: Setup, node: Peer | undefined): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const resumed of [false, true]) {
    const can = !resumed || resumedByNode.has(setup.profile.certificateAlgorithm);
    const theirs = can ? await node?.ask({ do: "handshakes", setup, resumed, ...rounds }) : undefined;
    rows.push({
      what: `${resumed ? "resumed" : "handshake"}, both ends, ${nameOf(setup.profile)}`,
      value: `${handshakes(setup, resumed).toFixed(2)} ms`,
      beside: can
        ? theirs && `${theirs.milliseconds.toFixed(2)} ms, Node.js 24 over loopback`
        : "Node.js 24, which keeps no session of more than 10 KiB",
    });
  }
  return rows;
}

/** Both ends of the engine. */
function ends({ profile, server, client, trust }: Setup, resumption: boolean, suites = cipherSuites.names) {
  const common = { trust: certificatesFromPem("trust", trust), cipherSuites: suites };
  return {
    near: new EngineClient({ offer: engineOffer(profile, client), resumption, ...common }),
    far: new EngineServer({ offers: [engineOffer(profile, server)], ...common }),
  };
}

/** The middle of the times of one handshake with mutual TLS, both ends in this thread, ms. */
function handshakes(setup: Setup, resumed: boolean): number {
  const { near, far } = ends(setup, resumed);
  const times: number[] = [];
  // The first one makes the session.
  for (let round = -1; round < rounds.warm + rounds.timed; round++) {
    const began = performance.now();
    const pair = handshake(near, far);
    times.push(performance.now() - began);
    if (round >= 0 && pair.far.negotiated()?.resumed !== resumed) {
      throw new Error(`expected a handshake with resumed ${resumed}`);
    }
    pair.near.free();
    pair.far.free();
  }
  near.free();
  far.free();
  return middle(times.slice(1 + rounds.warm));
}

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

async function recordsRow(suite: string, setup: Setup, node: Peer | undefined): Promise<BenchRow> {
  const shown = ({ sealed, opened }: Answer) => `${Math.round(sealed)} and ${Math.round(opened)} MiB/s`;
  const theirs = await node?.ask({ do: "records", suite });
  return {
    what: `seal and open, ${suite}`,
    value: shown(records(suite, setup)),
    beside: theirs && `${shown(theirs)}, node:crypto of Node.js 24`,
  };
}

/** MiB a second of 64 KiB writes, which are four records each. */
function records(suite: string, setup: Setup): Answer {
  const { near: client, far: server } = ends(setup, false, [suite]);
  const { near, far } = handshake(client, server);
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
  for (const end of [near, far, client, server]) end.free();
  const speed = (ms: number) => 768 / 16 / (ms / 1000);
  return { sealed: speed(sealing), opened: speed(opening) };
}

/** Reads and drops what waits. */
function drop(end: EngineConnection): void {
  while (end.read() !== undefined);
}

/** New connections a second and the server's processor time for one, none of them resumed, by two clients that are Node.js. */
async function connectionsRow(setup: Setup, ours: Peer, { server, clients }: Nodes): Promise<BenchRow> {
  const { count, atOnce } = newConnections;
  const measured = await Promise.all([ours, server].map(async (peer) => {
    const { port } = await peer.ask({ do: "serve", what: "greeting", setup });
    return { peer, port, rates: new Array<number>(), time: 0 };
  }));
  for (let round = -1; round < newConnections.rounds; round++) {
    // In turn, so that what else the machine does meets both.
    for (const each of measured) {
      const before = await each.peer.ask({ do: "time" });
      const asked = clients.map((it) => it.ask({ do: "connect", setup, port: each.port, count, atOnce }));
      const seconds = Math.max(...(await Promise.all(asked)).map((answer) => answer.seconds));
      const after = await each.peer.ask({ do: "time" });
      if (round < 0) continue;
      each.rates.push(count * clients.length / seconds);
      each.time += after.milliseconds - before.milliseconds;
    }
  }
  const made = count * clients.length * newConnections.rounds;
  const [value, beside] = measured.map(({ rates, time }) =>
    `${Math.round(middle(rates))}/s, ${(time / made).toFixed(2)} ms of the server's processor time`
  );
  return {
    what: `new mutual-TLS connections, ${nameOf(setup.profile)}`,
    value,
    beside: `${beside}, at Node.js 24`,
  };
}

/** What a connection that is open and idle takes of its server, KiB, the sessions to resume it by included. */
async function memoryRows(setup: Setup, { server, clients: [client] }: Nodes): Promise<BenchRow[]> {
  const grown = async (peer: Peer) => {
    const { port } = await peer.ask({ do: "serve", what: "greeting", setup });
    const seen: Answer[] = [];
    let open = 0;
    for (const count of heldConnections) {
      await client.ask({ do: "hold", setup, port, count: count - open });
      open = count;
      seen.push(await peer.ask({ do: "memory" }));
    }
    const [few, many] = seen;
    const each = (name: string) =>
      (many[name] - few[name]) / 1024 / (heldConnections[1] - heldConnections[0]);
    return { resident: each("resident").toFixed(1), engine: each("engine").toFixed(1) };
  };
  // A process of its own again: what was freed before would be used anew, and hide what a connection takes.
  await using ours = startOurs();
  const here = await grown(ours);
  const there = await grown(server);
  return [
    {
      what: "memory of the server's process for an idle connection",
      value: `${here.resident} KiB`,
      beside: `${there.resident} KiB, Node.js 24`,
    },
    { what: "of that the engine's", value: `${here.engine} KiB` },
  ];
}

/** A download end to end, from the server's process to this one. */
async function downloadRow(setup: Setup, ours: Peer): Promise<BenchRow> {
  const { port } = await ours.ask({ do: "serve", what: "download", setup });
  const plain = await ours.ask({ do: "serve", what: "plain", length: download });
  const raw = await plainMegabytes(plain.port);
  return {
    what: "256 MiB over HTTPS, server in another process",
    value: `${Math.round(await megabytes(port, setup))} MB/s`,
    beside: `${Math.round(raw)} MB/s over TCP alone`,
  };
}

/** Millions of bytes a second. */
async function megabytes(port: number, { profile, client, trust }: Setup): Promise<number> {
  const dispatcher = httpsAgent({ credentials: client, profile, trust });
  try {
    const get = async (length: number) => {
      const { body } = await request(`https://127.0.0.1:${port}/${length}`, { dispatcher });
      let received = 0;
      for await (const bytes of body) received += bytes.length;
      if (received !== length) throw new Error(`expected ${length} bytes, got ${received}`);
    };
    await get(32 * mebibyte);
    const began = performance.now();
    await get(download);
    return download / 1e6 / ((performance.now() - began) / 1000);
  } finally {
    await dispatcher.destroy();
  }
}

async function plainMegabytes(port: number): Promise<number> {
  const began = performance.now();
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const buffer = new Uint8Array(131_072);
  let received = 0;
  for (let length = await conn.read(buffer); length !== null; length = await conn.read(buffer)) {
    received += length;
  }
  if (received !== download) throw new Error(`expected ${download} bytes, got ${received}`);
  return download / 1e6 / ((performance.now() - began) / 1000);
}

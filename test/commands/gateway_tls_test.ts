// DoIP over TLS between the wiring's two ends: the simulated gateway's listener and the way of commands and vehicles.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { RoutingActivationError } from "../../hardware/doip/errors.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import { BusTrace } from "../../hardware/trace/trace.ts";
import { placeGateways, simulationOf } from "../../src/commands/bench_description.ts";
import { findEcu, withEcu } from "../../src/commands/bench_access.ts";
import { type BenchWiring, gatewayLink } from "../../src/commands/gateway_links.ts";
import { serveGatewayTls } from "../../src/commands/gateway_tls.ts";
import { loadConfig } from "../../src/config/load.ts";
import { createLogger } from "../../src/log.ts";
import { initAuthority, issueOperator } from "../../src/pqc/authority.ts";
import { PeerAlert } from "../../src/tls/engine/failures.ts";
import { type TlsError, UnknownIssuer } from "../../src/tls/errors.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const readVin = Uint8Array.fromHex("22f190");
const vinAnswer = "62f190" + new TextEncoder().encode("KMHZB00BENCH00001").toHex();
const signal = AbortSignal.timeout(60_000);

/** The default bench whose chassis gateway is reached by TLS alone, its way, and what it is said to be in the bench file. */
async function setUp(folder: string, network: string, tls: Record<string, unknown> = {}) {
  const benchFile = join(folder, "bench.yaml");
  const text = await Deno.readTextFile("config/bench.yaml");
  const setting = `          tls: ${JSON.stringify(tls)}\n`;
  await Deno.writeTextFile(benchFile, text.replace(/( +logical_address: 0x1002\n)/, `$1${setting}`));
  const config = await loadConfig({ benchFile, set: [`bench.network=${network}`, "bench.timing=none"] });
  const pki = join(folder, "pki");
  await initAuthority({ directory: pki });
  await issueOperator("bench", { directory: pki });
  const { gateways } = simulationOf(config.bench, join(folder, "bench"));
  const bench = await SimulatedBench.start({
    timing: "none",
    gateways: gateways.map((gateway) => ({
      ...gateway,
      ecus: gateway.ecus.filter((ecu) => ecu.can === undefined),
    })),
  });
  const log = createLogger({ format: "text", level: "error" });
  const listeners = await serveGatewayTls(bench, config, pki, log);
  const wiring: BenchWiring = { config, pki, holder: "operator bench" };
  const placed = placeGateways(config.bench)[1];
  return {
    wiring,
    placed,
    async [Symbol.asyncDispose]() {
      await listeners[Symbol.asyncDispose]();
      await bench.close();
    },
  };
}

Deno.test("an ECU behind a gateway that wants TLS is reached over it, and a plain connection is denied with 07", async () => {
  await using folder = await temporaryFolder();
  await using test = await setUp(folder.path, "127.0.31.64/28");
  const { wiring, placed } = test;
  const ecu = findEcu(wiring.config.bench, "ECU_003");
  const answer = await withEcu(wiring, ecu, signal, (client) => client.raw(readVin, { signal }));
  assert.equal(answer?.toHex(), vinAnswer);
  const { hostname } = placed;
  assert.ok(hostname !== undefined);
  await assert.rejects(
    DoipConnection.connect({ hostname, port: 13_400 }),
    (error) => error instanceof RoutingActivationError && error.code === 7,
  );
  // The other gateways are reached as before.
  const plain = findEcu(wiring.config.bench, "ECU_001");
  assert.equal(
    (await withEcu(wiring, plain, signal, (client) => client.raw(readVin, { signal })))?.toHex(),
    vinAnswer,
  );
});

Deno.test("a gateway that does not insist on TLS is reached both ways", async () => {
  await using folder = await temporaryFolder();
  await using test = await setUp(folder.path, "127.0.31.80/28", { required: false, port: 3497 });
  const { wiring, placed } = test;
  const ecu = findEcu(wiring.config.bench, "ECU_003");
  const answer = await withEcu(wiring, ecu, signal, (client) => client.raw(readVin, { signal }));
  assert.equal(answer?.toHex(), vinAnswer);
  await using connection = await DoipConnection.connect({ hostname: placed.hostname ?? "" });
  assert.equal(connection.entityAddress, 0x1002);
});

Deno.test("a gateway whose certificate does not end in the trusted ones, or that has no group in common, is not talked to", async () => {
  await using folder = await temporaryFolder();
  await using foreign = await temporaryFolder();
  await using test = await setUp(folder.path, "127.0.31.96/28");
  const { wiring, placed } = test;
  await initAuthority({ directory: foreign.path });
  const { hostname, tls } = placed;
  assert.ok(hostname !== undefined && tls !== undefined);
  const refused = async (differs: Partial<typeof tls>, expected: new (message: string) => TlsError) => {
    const { openStream } = gatewayLink({ ...placed, tls: { ...tls, ...differs } }, wiring);
    assert.ok(openStream !== undefined);
    await assert.rejects(openStream(hostname, signal), expected);
  };
  await refused({ trust: join(foreign.path, "ca.crt") }, UnknownIssuer);
  await refused({ profile: 0 }, PeerAlert);
});

interopTest("tshark reads a trace of DoIP over TLS with the secrets in it", [peers.tshark], async () => {
  await using folder = await temporaryFolder();
  await using test = await setUp(folder.path, "127.0.31.112/28");
  const path = join(folder.path, "tls.pcapng");
  const trace = await BusTrace.open({ path });
  const wiring = { ...test.wiring, trace };
  const ecu = findEcu(wiring.config.bench, "ECU_003");
  await withEcu(wiring, ecu, signal, (client) => client.raw(readVin, { signal }));
  await trace.close();
  const { stdout } = await new Deno.Command("tshark", {
    args: ["-r", path, "-Y", "doip", "-T", "fields", "-e", "tcp.port", "-e", "doip.type", "-e", "uds.sid"],
  }).output();
  const messages = new TextDecoder().decode(stdout).trimEnd().split("\n").map((line) => line.split("\t"));
  assert.ok(messages.every(([ports]) => ports.split(",").includes("3496")), `${messages}`);
  assert.deepEqual(messages.flatMap(([, types]) => types.split(",")), [
    "0x0005",
    "0x0006",
    "0x8001",
    "0x8002",
    "0x8001",
  ]);
  assert.ok(messages.some(([, , sids]) => sids.includes("0x22")));
});

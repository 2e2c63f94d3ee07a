// What a trace holds, read by tshark: a whole flash over DoIP, the same over TLS with its secrets, CAN beside it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { discover } from "../../hardware/doip/discover.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import { BusTrace } from "../../hardware/trace/trace.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const seedKey = { algorithm: "xor", constant: "A5" } as const;
const imageSize = 2 << 20;

function benchAt(hostname: string) {
  return SimulatedBench.start({
    timing: "none",
    gateways: [{
      zonalGatewayId: "ZG_TRACE",
      hostname,
      logicalAddress: 0x1000,
      vin: "KMHTRACE000000001",
      ecus: [{
        ecuId: "ECU_001",
        ecuType: "BODY",
        logicalAddress: 0x1001,
        hwVersion: "H1",
        swVersion: "1.0.0",
        serialNumber: "1",
        partNumber: "1",
        supplier: "1",
        memory: [{ name: "main", address: 0, size: 4 << 20 }],
        securityAccess: { seedKey },
      }],
    }],
  });
}

/** Runs tshark over a file and gives its lines, one a packet, fields in the order asked for. */
async function tshark(file: string, fields: string[], ...more: string[]): Promise<string[][]> {
  const { success, stdout, stderr } = await new Deno.Command("tshark", {
    args: ["-r", file, ...more, "-T", "fields", ...fields.flatMap((field) => ["-e", field])],
  }).output();
  const text = new TextDecoder();
  assert.ok(success, text.decode(stderr));
  return text.decode(stdout).split("\n").filter((line) => line !== "").map((line) => line.split("\t"));
}

/** Packets that tshark finds fault with: malformed, of illegal length, a wrong checksum, a gap, an expert's warning. */
function faults(file: string, ...more: string[]): Promise<string[][]> {
  const wrong =
    "_ws.malformed || doip.illegal_length_field || tcp.checksum.status == 0 || ip.checksum.status == 0 || " +
    "udp.checksum.status == 0 || tcp.analysis.lost_segment || _ws.expert.severity >= 0x600000";
  const checks = ["tcp.check_checksum", "ip.check_checksum", "udp.check_checksum"];
  return tshark(
    file,
    ["frame.number", "_ws.expert.message", "_ws.col.Info"],
    ...checks.flatMap((name) => ["-o", `${name}:TRUE`]),
    ...more,
    "-Y",
    wrong,
  );
}

/** Counters of all TransferData requests, in order. */
async function transferCounters(file: string, ...more: string[]): Promise<number[]> {
  const lines = await tshark(
    file,
    ["uds.td.block_sequence_counter"],
    ...more,
    "-Y",
    "uds.sid == 0x36 && uds.reply == 0",
  );
  return lines.flatMap(([counters]) => counters.split(",")).map(Number);
}

/** 1, 2 … 255, 0, 1 … */
function expectedCounters(blocks: number): number[] {
  return Array.from({ length: blocks }, (_, index) => (index + 1) & 0xff);
}

async function flash(connection: DoipConnection): Promise<void> {
  const payload = new Uint8Array(imageSize).map((_, index) => (index * 31) ^ (index >> 8));
  using client = new UdsClient(connection.transport(0x1001));
  await flashEcu(client, memoryImage([{ address: 0, length: imageSize }], payload), {
    plan: { seedKey, restartPoll: 5 },
    version: "2.0.0",
    fingerprint: Uint8Array.of(1),
  });
}

interopTest("tshark reads a traced flash whole: every block, nothing malformed", [peers.tshark], async () => {
  await using folder = await temporaryFolder();
  await using bench = await benchAt("127.0.31.40");
  const path = join(folder.path, "flash.pcapng");
  const warnings: string[] = [];
  const trace = await BusTrace.open({ path, warn: (message) => warnings.push(message) });
  const tap = trace.network("ZG_TRACE");
  const [{ address, port }] = bench.gateways.map(({ hostname, port }) => ({ address: hostname, port }));
  await discover({ targets: [{ hostname: address, port }], enough: 1, tap });
  await using connection = await DoipConnection.connect({ hostname: address, port, tap });
  await flash(connection);
  await connection.close();
  const { kept, lost } = await trace.close();
  assert.equal(lost, 0);
  assert.deepEqual(warnings, []);

  assert.deepEqual(await faults(path), []);
  const packets = await tshark(path, ["frame.interface_name"]);
  assert.equal(packets.length, kept);
  assert.deepEqual([...new Set(packets.flat())], ["ZG_TRACE"]);
  assert.deepEqual(await transferCounters(path), expectedCounters(Math.ceil(imageSize / 4_093)));
  const types = new Set((await tshark(path, ["doip.type"], "-Y", "doip")).flatMap(([all]) => all.split(",")));
  for (const type of ["0x0001", "0x0004", "0x0005", "0x0006", "0x8001", "0x8002"]) {
    assert.ok(types.has(type), `${type} among ${[...types]}`);
  }
});

interopTest("mergecap joins the files of a trace that was rotated in mid-flash, and nothing is missing", [
  peers.tshark,
], async () => {
  await using folder = await temporaryFolder();
  await using bench = await benchAt("127.0.31.41");
  const path = join(folder.path, "flash.pcapng");
  const trace = await BusTrace.open({ path, maxFileSize: 500_000, maxFiles: 20 });
  const [{ hostname, port }] = bench.gateways;
  await using connection = await DoipConnection.connect({ hostname, port, tap: trace.network("ZG_TRACE") });
  await flash(connection);
  await connection.close();
  assert.equal((await trace.close()).lost, 0);
  const files = [...Deno.readDirSync(folder.path)].map(({ name }) => join(folder.path, name));
  assert.ok(files.length >= 5, `only ${files.length} files`);
  for (const file of files) assert.ok((await Deno.stat(file)).size <= 500_000, file);
  const whole = join(folder.path, "whole.pcapng");
  const { success, stderr } = await new Deno.Command("mergecap", { args: ["-w", whole, ...files] }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  assert.deepEqual(await faults(whole), []);
  assert.deepEqual(await transferCounters(whole), expectedCounters(Math.ceil(imageSize / 4_093)));
});

interopTest("tshark reads CAN frames of both kinds from a pcapng file and from a candump log", [
  peers.tshark,
], async () => {
  await using folder = await temporaryFolder();
  for (const name of ["can.pcapng", "can.log"]) {
    const path = join(folder.path, name);
    const trace = await BusTrace.open({ path });
    const body = trace.can("CAN BODY");
    body.frame("sent", { id: 0x7e0, extended: false, data: Uint8Array.fromHex("0322f19000000000") });
    body.frame("received", { id: 0x18daf110, extended: true, data: Uint8Array.fromHex("03") });
    body.frame("sent", {
      id: 0x123,
      extended: false,
      data: new Uint8Array(0),
      remote: true,
      remoteLength: 4,
    });
    const data = new Uint8Array(12).fill(0xa5);
    body.frame("sent", { id: 0x7e0, extended: false, data, fd: true, bitRateSwitch: true });
    await trace.close();
    assert.deepEqual(await faults(path), []);
    const frames = await tshark(path, [
      "can.id",
      "can.flags.xtd",
      "can.flags.rtr",
      "can.len",
      "canfd.flags.brs",
    ]);
    assert.deepEqual(
      frames.map((fields) => fields.map((field) => ({ True: "1", False: "0" })[field] ?? field).map(Number)),
      [[0x7e0, 0, 0, 8, 0], [0x18daf110, 1, 0, 1, 0], [0x123, 0, 1, 4, 0], [0x7e0, 0, 0, 12, 1]],
      name,
    );
  }
});

// The simulated ECU flashed by a tester that we did not write, and our own flash as tshark reads it.
import assert from "node:assert/strict";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { interopTest, peers } from "../support/peers.ts";
import { Recorder } from "./doip/recorder.ts";

const seedKey = { algorithm: "xor", constant: "A5" } as const;

/** A gateway with one ECU that takes blocks of 256 bytes of data. */
function benchAt(hostname: string): Promise<SimulatedBench> {
  return SimulatedBench.start({
    timing: "none",
    gateways: [{
      zonalGatewayId: "ZG_BODY",
      hostname,
      port: 13_400,
      logicalAddress: 0x1000,
      vin: "KMHTEST0000000001",
      ecus: [{
        ecuId: "ECU_001",
        ecuType: "BCM",
        logicalAddress: 0x1001,
        hwVersion: "H1",
        swVersion: "1.0.0",
        serialNumber: "SN-0001",
        partNumber: "PN-0001",
        supplier: "Zonebench",
        maxBlockLength: 258,
        securityAccess: { seedKey },
      }],
    }],
  });
}

interopTest("scapy flashes a simulated ECU and reads version and memory back", [peers.scapy], async () => {
  await using bench = await benchAt("127.0.32.20");
  const path = new URL("./uds/scapy_flash.py", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command("/usr/bin/python3", {
    args: [path, "127.0.32.20", "13400", "0x1001"],
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assert.ok(success, new TextDecoder().decode(stderr));
  assert.equal(lines[5].slice(0, 4), "6701");
  assert.deepEqual(lines.filter((_, index) => index !== 5), [
    "routing 0x10",
    "5003003201f4",
    "c502",
    "6803",
    "5002003201f4",
    "6702",
    "6ef15a",
    "7101ff0000",
    "74200102",
    "7601",
    "7602",
    "7603",
    "77",
    "7101020200",
    "7101ff0100",
    "5101",
    "7e00",
    "62f189322e302e30",
    "version 2.0.0",
    // The first 20 bytes: 63, then 1, 4, 7, ….
    "630104070a0d101316191c1f2225282b2e313437",
    "memory True",
  ]);
  assert.equal(bench.ecu("ECU_001").version, "2.0.0");
});

interopTest(
  "tshark finds our flash well-formed and its block counters complete",
  [peers.tshark],
  async () => {
    await using bench = await benchAt("127.0.32.21");
    const [gateway] = bench.gateways;
    const recorder = await Recorder.start({ hostname: "127.0.32.22", port: 13_400 }, gateway);
    const blocks = 300;
    {
      await using connection = await DoipConnection.connect({ hostname: "127.0.32.22" });
      using client = new UdsClient(connection.transport(0x1001));
      const size = blocks * 256;
      await flashEcu(client, memoryImage([{ address: 0, length: size }], new Uint8Array(size).fill(0x5a)), {
        plan: { seedKey },
        version: "2.0.0",
        fingerprint: Uint8Array.of(1),
      });
    }
    await recorder.close();
    const path = await Deno.makeTempFile({ suffix: ".pcap" });
    try {
      await Deno.writeFile(path, recorder.pcap());
      const fields = [
        "uds.sid",
        "uds.reply",
        "uds.td.block_sequence_counter",
        "_ws.malformed",
        "doip.illegal_length_field",
      ];
      const { success, stdout, stderr } = await new Deno.Command("tshark", {
        args: ["-r", path, "-T", "fields", ...fields.flatMap((field) => ["-e", field])],
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const packets = new TextDecoder().decode(stdout).replace(/\n$/, "").split("\n").map((line) =>
        line.split("\t")
      );
      assert.deepEqual(
        packets.filter(([, , , malformed, illegal]) => malformed !== "" || illegal !== ""),
        [],
      );
      const counters = packets.filter(([sid, reply]) => sid === "0x36" && reply === "0x00")
        .map(([, , counter]) => Number(counter));
      assert.deepEqual(counters, Array.from({ length: blocks }, (_, block) => (block + 1) % 256));
    } finally {
      await Deno.remove(path);
    }
  },
);

// Programs that we did not write on the simulated CAN bus: python-can as a tester, tshark as a reader of a recorded flash.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { CanFrame } from "../../hardware/can/frame.ts";
import { showFrame } from "../../hardware/can/frame.ts";
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { SimulatedBench } from "../../hardware/sim/bench.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const hostname = "127.0.64.1";
const vin = "KMHTEST0000000064";
const seedKey = { algorithm: "xor", constant: "A5" } as const;
const address = { format: "normal", requestId: 0x7a7, responseId: 0x7af } as const;

/** An ECU that takes blocks of 256 bytes of data, on an adapter with a PTY. */
function benchAt(pty: string): Promise<SimulatedBench> {
  return SimulatedBench.start({
    timing: "none",
    adapters: [{ adapterId: "CAN_TEST", hostname, port: 0, pty }],
    gateways: [{
      zonalGatewayId: "ZG_TEST",
      hostname,
      port: 0,
      logicalAddress: 0x1000,
      vin,
      ecus: [{
        ecuId: "ECU_001",
        ecuType: "BCM",
        logicalAddress: 0x1001,
        can: { adapterId: "CAN_TEST", address },
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

interopTest(
  "python-can reads a simulated ECU's VIN through the adapter's PTY, in single and in several frames",
  [peers.pythonCan, peers.socat],
  async () => {
    await using folder = await temporaryFolder();
    const pty = join(folder.path, "ttyCAN");
    await using _bench = await benchAt(pty);
    const { success, stdout, stderr } = await new Deno.Command("/usr/bin/python3", {
      args: [new URL("./can/python_can_reads_vin.py", import.meta.url).pathname, pty, "7A7", "7AF"],
      env: { PYTHONDONTWRITEBYTECODE: "1" },
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const vinBytes = new TextEncoder().encode(vin).toHex();
    assert.deepEqual(new TextDecoder().decode(stdout).trim().split("\n"), [
      "027e00",
      // First frame: 20 bytes, 62 F1 90 and the first three characters.
      `101462f190${vinBytes.slice(0, 6)}`,
      `62f190${vinBytes}`,
      "300000",
      // Not in the default session: serviceNotSupportedInActiveSession.
      "037f2e7f",
    ]);
  },
);

interopTest(
  "tshark finds a flash over CAN well-formed and its block counters complete",
  [peers.tshark, peers.socat],
  async () => {
    await using folder = await temporaryFolder();
    const pty = join(folder.path, "ttyCAN");
    await using bench = await benchAt(pty);
    const log: string[] = [];
    const record = (frame: CanFrame) => {
      const seconds = (1_795_000_000 + log.length / 10_000).toFixed(6);
      log.push(`(${seconds}) can0 ${showFrame(frame)}`);
    };
    bench.adapter("CAN_TEST").bus.attach("recorder").listen(({ frame }) => record(frame));
    const bus = await SlcanBus.open((signal) => openPort(pty, { signal }), {
      bitRate: 500_000,
      acknowledgement: "z",
    });
    const blocks = 300;
    try {
      const isotp = new IsoTpClient(bus);
      using client = new UdsClient(isotp.transport(address));
      const size = blocks * 256;
      await flashEcu(client, memoryImage([{ address: 0, length: size }], new Uint8Array(size).fill(0x5a)), {
        plan: { seedKey },
        version: "2.0.0",
        fingerprint: Uint8Array.of(1),
      });
      isotp.close();
    } finally {
      await bus.close();
    }
    assert.equal(bench.ecu("ECU_001").version, "2.0.0");
    const path = join(folder.path, "flash.log");
    await Deno.writeTextFile(path, log.join("\n") + "\n");
    const fields = ["uds.sid", "uds.reply", "uds.td.block_sequence_counter", "_ws.malformed"];
    const { success, stdout, stderr } = await new Deno.Command("tshark", {
      args: [
        ...["-r", path, "-d", "can.subdissector,iso15765", "-d", "iso15765.subdissector,uds"],
        ...["-T", "fields", ...fields.flatMap((field) => ["-e", field])],
      ],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const packets = new TextDecoder().decode(stdout).replace(/\n$/, "").split("\n").map((line) =>
      line.split("\t")
    );
    assert.equal(packets.length, log.length);
    assert.deepEqual(packets.filter(([, , , malformed]) => malformed !== ""), []);
    const counters = packets.filter(([sid, reply]) => sid === "0x36" && reply === "0x00")
      .map(([, , counter]) => Number(counter));
    assert.deepEqual(counters, Array.from({ length: blocks }, (_, block) => (block + 1) % 256));
  },
);

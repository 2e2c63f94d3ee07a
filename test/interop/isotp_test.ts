// Our ISO-TP against programs that we did not write: scapy takes messages apart and puts them together, and speaks to
// our ECU as a tester; tshark reads what crossed the bus.

import assert from "node:assert/strict";
import type { IsoTpAddress } from "../../hardware/isotp/address.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { IsoTpServer } from "../../hardware/isotp/server.ts";
import { showFrame } from "../../hardware/can/frame.ts";
import { frame, MemoryBus } from "../hardware/isotp/support/memory_bus.ts";
import { interopTest, peers } from "../support/peers.ts";
import { DatagramBus, Scapy } from "./isotp/scapy.ts";

const lengths = [1, 6, 7, 8, 20, 100, 4_095, 4_096, 10_000];
const wait = { timeout: 20_000 };

function payload(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at * 31 + (at >> 8) & 0xff);
}

const formats: { address: IsoTpAddress; id: number; prefix?: number; flowControl: string }[] = [
  {
    address: { format: "normal", requestId: 0x7e0, responseId: 0x7e8 },
    id: 0x7e0,
    flowControl: "7E8#300000",
  },
  { address: { format: "normal_fixed", ecu: 0x10 }, id: 0x18da10f1, flowControl: "18DAF110#300000" },
  {
    address: { format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12 },
    id: 0x600,
    prefix: 0x12,
    flowControl: "601#F1300000",
  },
  {
    address: { format: "mixed_29", ecu: 0x10, addressExtension: 0x99 },
    id: 0x18ce10f1,
    prefix: 0x99,
    flowControl: "18CEF110#99300000",
  },
];

interopTest("scapy puts our messages together", [peers.scapy], async () => {
  await using scapy = new Scapy();
  for (const { address, prefix, flowControl } of formats) {
    for (const length of lengths) {
      const bus = new MemoryBus();
      const node = bus.node("tester");
      const peer = bus.node("ECU");
      const client = new IsoTpClient(node);
      // Every first frame may go on at once.
      peer.listen(({ frame: { data } }) => {
        const type = data[prefix === undefined ? 0 : 1] >> 4;
        if (type === 1) queueMicrotask(() => peer.deliver(frame(flowControl)));
      });
      await client.transport(address).send(payload(length), wait);
      client.close();
      const frames = node.sent.map(({ text }) => text);
      const answer = await scapy.ask({ op: "defragment", frames, extended: prefix !== undefined });
      assert.equal(answer.payload, payload(length).toHex(), `${address.format}, ${length} bytes`);
    }
  }
});

interopTest("we put scapy's messages together", [peers.scapy], async () => {
  await using scapy = new Scapy();
  for (const { address, id, prefix } of formats) {
    for (const length of lengths) {
      const { frames = [] } = await scapy.ask({
        op: "fragment",
        payload: payload(length).toHex(),
        id,
        address: prefix,
      });
      const bus = new MemoryBus();
      const server = new IsoTpServer(bus.node("ECU"));
      const tester = bus.node("tester");
      const requests: string[] = [];
      server.attach({ handle: (request) => requests.push(request.toHex()) }, { physical: address });
      for (const text of frames) tester.deliver(frame(text));
      assert.deepEqual(requests, [payload(length).toHex()], `${address.format}, ${length} bytes`);
      server.close();
    }
  }
});

interopTest(
  "scapy's tester and our ECU talk, with blocks and STmin of either side",
  [peers.scapy],
  async () => {
    await using scapy = new Scapy();
    const rows = [
      { physical: formats[0].address, request: 0x7e0, response: 0x7e8 },
      { physical: formats[1].address, request: 0x18da10f1, response: 0x18daf110 },
      {
        physical: formats[2].address,
        request: 0x600,
        response: 0x601,
        request_address: 0x12,
        response_address: 0xf1,
      },
    ];
    for (const { physical, ...ids } of rows) {
      for (
        const [ours, theirs] of [[{ blockSize: 8, stMin: 0 }, 4], [{ blockSize: 3, stMin: 1 }, 8]] as const
      ) {
        const bus = new DatagramBus();
        const server = new IsoTpServer(bus, ours);
        const handled: number[] = [];
        server.attach({
          handle(request, _context, respond) {
            handled.push(request.length);
            respond(request.map((byte) => byte ^ 0xff));
          },
        }, { physical });
        const stmin = ours.stMin;
        const { port = 0 } = await scapy.ask({
          op: "open",
          port: await bus.bind(),
          ...ids,
          bs: theirs,
          stmin,
          padding: stmin > 0,
        });
        bus.connect(port);
        for (const length of [3, 8, 200, 1_500]) {
          const request = payload(length);
          await scapy.ask({ op: "send", payload: request.toHex() });
          const answer = await scapy.ask({ op: "receive" });
          assert.equal(
            answer.payload,
            request.map((byte) => byte ^ 0xff).toHex(),
            `${physical.format}, ${length}`,
          );
        }
        assert.deepEqual(handled, [3, 8, 200, 1_500]);
        server.close();
        await bus.close();
      }
    }
  },
);

/** Runs tshark over frames, decoded as ISO 15765; one line a frame with the named fields. */
async function tshark(log: string, fields: string[], preferences: string[]): Promise<string[][]> {
  const file = await Deno.makeTempFile({ suffix: ".log" });
  try {
    await Deno.writeTextFile(file, log);
    const { success, stdout, stderr } = await new Deno.Command("tshark", {
      args: [
        ...["-r", file, "-d", "can.subdissector,iso15765", "-T", "fields"],
        ...preferences.flatMap((preference) => ["-o", preference]),
        ...fields.flatMap((field) => ["-e", field]),
      ],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).split("\n").slice(0, -1).map((line) => line.split("\t"));
  } finally {
    await Deno.remove(file);
  }
}

interopTest(
  "tshark finds nothing malformed in what crosses the bus, and our messages in it",
  [peers.tshark],
  async () => {
    const rows: [address: IsoTpAddress, txDl: number, addressing: string][] = [
      [{ format: "normal", requestId: 0x7e0, responseId: 0x7e8 }, 8, "Normal addressing"],
      [{ format: "normal_fixed", ecu: 0x10 }, 8, "Normal addressing"],
      [{ format: "normal", requestId: 0x7e0, responseId: 0x7e8 }, 64, "Normal addressing"],
      [
        { format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12 },
        8,
        "Extended addressing",
      ],
    ];
    for (const [physical, txDl, addressing] of rows) {
      const bus = new MemoryBus();
      const log: string[] = [];
      bus.node("ear").listen(({ frame }) => {
        log.push(`(1.${String(log.length).padStart(6, "0")}) can0 ${showFrame(frame)}\n`);
      });
      const client = new IsoTpClient(bus.node("tester"), { txDl, blockSize: 7 });
      const server = new IsoTpServer(bus.node("ECU"), { txDl, blockSize: 4 });
      server.attach({ handle: (request, _context, respond) => respond(request) }, { physical });
      const ecu = client.transport(physical);
      const sent = [3, 7, 8, 62, 63, 300, 1_000].map(payload);
      for (const message of sent) {
        await ecu.send(message, wait);
        assert.deepEqual(await ecu.receive(wait), message);
      }
      client.close();
      server.close();
      const frames = await tshark(
        log.join(""),
        ["_ws.malformed", "_ws.expert.message", "iso15765.message_type", "iso15765.reassembled.length"],
        [`iso15765.addressing:${addressing}`, "iso15765.window:256"],
      );
      assert.equal(frames.length, log.length);
      assert.deepEqual(
        frames.filter(([malformed]) => malformed !== ""),
        [],
        `${physical.format}, TX_DL ${txDl}`,
      );
      const kinds = new Set(frames.map(([, , type]) => Number(type)));
      assert.deepEqual([...kinds].sort(), [0, 1, 2, 3]);
      const reassembled = frames.map(([, , , length]) => length).filter((length) => length !== "").map(
        Number,
      );
      const segmented = sent.filter(({ length }) => length > (txDl === 64 ? 62 : 7)).flatMap(({ length }) => [
        length,
        length,
      ]);
      console.log(physical.format, txDl, reassembled, segmented, [...new Set(frames.map((f) => f[1]))]);
    }
  },
);

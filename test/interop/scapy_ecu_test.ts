// Our client, diagnosis and flash against an ECU that we did not write: scapy's EcuAnsweringMachine behind its DoIP layer.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { DiagnosticNackError } from "../../hardware/doip/errors.ts";
import { memoryImage } from "../../hardware/flash/format/memory_image.ts";
import { flashEcu } from "../../hardware/flash/sequence.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import { NegativeResponseError } from "../../hardware/uds/errors.ts";
import { interopTest, peers } from "../support/peers.ts";

/** Starts the ECU and gives its port and the lines that it prints afterwards. */
async function startEcu(hostname: string) {
  const path = new URL("./doip/scapy_ecu.py", import.meta.url).pathname;
  const peer = new Deno.Command("/usr/bin/python3", {
    args: [path, hostname],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = peer.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const line = async (): Promise<string> => {
    while (!text.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the ECU ended");
      text += value;
    }
    const [first] = text.split("\n");
    text = text.slice(first.length + 1);
    return first;
  };
  return {
    port: Number(await line()),
    line,
    async [Symbol.asyncDispose]() {
      await reader.cancel();
      await peer.stdin.close();
      await peer.status;
    },
  };
}

interopTest(
  "our diagnosis and flash work on an ECU that is scapy's EcuAnsweringMachine",
  [peers.scapy],
  async () => {
    const hostname = "127.0.31.25";
    await using ecu = await startEcu(hostname);
    const image = new Uint8Array(5_000).map((_, index) => (index * 7) ^ (index >> 8));
    {
      await using connection = await DoipConnection.connect({ hostname, port: ecu.port });
      using client = new UdsClient(connection.transport(0x1001));
      const vin = await client.raw(Uint8Array.fromHex("22f190"));
      assert.equal(new TextDecoder().decode(vin?.subarray(3)), "KMHSCAPY000000001");
      await assert.rejects(
        client.raw(Uint8Array.fromHex("22f1ff")),
        (error) => error instanceof NegativeResponseError && error.nrc === 0x10,
      );
      await assert.rejects(
        connection.transport(0x1777).send(Uint8Array.fromHex("3e00"), { timeout: 3_000 }),
        (error) => error instanceof DiagnosticNackError && error.code === 3,
      );
      const { version } = await flashEcu(client, memoryImage([{ address: 0, length: image.length }], image), {
        plan: { seedKey: { algorithm: "xor", constant: "A5" } },
        version: "2.0.0",
        fingerprint: Uint8Array.of(1),
      });
      assert.equal(version, "2.0.0");
    }
    assert.equal(await ecu.line(), `5000 ${createHash("sha256").update(image).digest("hex")}`);
  },
);

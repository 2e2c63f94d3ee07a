// Connections of listen() whose client, made by hand, breaks a rule after a good handshake: each ends with its own error here and its
// own alert there, and the listener serves on.

import assert from "node:assert/strict";
import { BadRecord, RecordOverflow, Truncated, UnexpectedMessage } from "../../src/tls/engine/failures.ts";
import { ProtocolViolation } from "../../src/tls/errors.ts";
import { readText, withBench } from "./bench.ts";
import { message, messageType } from "./peer/messages.ts";
import type { HandClient } from "./peer/peer.ts";
import { contentType } from "./peer/records.ts";
import { type Alert, alerts, type ErrorClass } from "./peer/tampering.ts";
import { assertError, servesOn, withClient } from "./peer/client_bench.ts";

/** What a client does after a good handshake, and what comes of it. */
interface Broken {
  act: (client: HandClient) => Promise<void>;
  error: ErrorClass;
  alert?: Alert;
}

const broken: Record<string, Broken> = {
  "a flipped record": {
    act: async (client) => {
      const record = client.records.sealed(contentType.applicationData, new Uint8Array(10));
      record[7] ^= 0x80;
      await client.records.send(record);
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
  "a record twice": {
    act: async (client) => {
      const record = client.records.sealed(contentType.applicationData, new Uint8Array(10));
      await client.records.send(record);
      await client.records.send(record);
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
  "a record that left out the one before it": {
    act: async (client) => {
      client.records.sealed(contentType.applicationData, new Uint8Array(10));
      await client.writeText("the next");
    },
    error: BadRecord,
    alert: "bad_record_mac",
  },
  "data that is not encrypted": {
    act: (client) => client.records.send(Uint8Array.of(23, 3, 3, 0, 1, 65)),
    error: BadRecord,
    alert: "bad_record_mac",
  },
  "16 KiB + 1 of plaintext in a record": {
    act: (client) => client.records.write(contentType.applicationData, new Uint8Array(16_385)),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "a record longer than 16 KiB + 256": {
    act: (client) => client.records.send(Uint8Array.of(23, 3, 3, 0x41, 0x01)),
    error: RecordOverflow,
    alert: "record_overflow",
  },
  "a record of nothing but padding": {
    act: (client) => client.records.write(0, new Uint8Array(20)),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "a record of an unknown content type": {
    act: (client) => client.records.write(99, new Uint8Array(20)),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "an empty handshake message": {
    act: (client) => client.records.write(contentType.handshake, new Uint8Array()),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "a ClientHello, to negotiate anew": {
    act: (client) => client.hello(),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "a change of the cipher spec": {
    act: (client) => client.records.send(Uint8Array.of(20, 3, 3, 0, 1, 1)),
    error: UnexpectedMessage,
    alert: "unexpected_message",
  },
  "a key update that asks for nothing that exists": {
    act: (client) => client.updateKey(2),
    error: ProtocolViolation,
    alert: "illegal_parameter",
  },
  "a key update with data behind it in its record": {
    act: (client) =>
      client.records.write(
        contentType.handshake,
        Uint8Array.of(...message(messageType.keyUpdate, [0]), ...message(messageType.keyUpdate, [0])),
      ),
    error: ProtocolViolation,
    alert: "unexpected_message",
  },
  "the end of TCP without close_notify": { act: (client) => client.records.cut(), error: Truncated },
};

for (const [what, { act, error, alert }] of Object.entries(broken)) {
  Deno.test(`a connection of listen() ends with an error when its client sends ${what}`, async () => {
    await withBench({ profiles: [2] }, async (bench) => {
      await withClient(bench, async (client) => {
        await client.handshake();
        const { stream } = await bench.connections.next();
        await act(client);
        const limit = setTimeout(() => stream.destroy(new Error("served on as if it were good")), 20_000);
        await assert.rejects(readText(stream).finally(() => clearTimeout(limit)), (reason) => {
          assertError(reason, error, alert);
          return true;
        });
        assert.equal(await client.lastWord(), alert === undefined ? undefined : alerts[alert]);
      });
      assert.equal(bench.refusals.waiting, 0);
      await servesOn(bench);
    });
  });
}

Deno.test("a fatal alert of the client is told as what it is", async () => {
  await withBench({ profiles: [2] }, async (bench) => {
    await withClient(bench, async (client) => {
      await client.handshake();
      const { stream } = await bench.connections.next();
      await client.records.write(contentType.alert, Uint8Array.of(2, 80));
      await assert.rejects(readText(stream), { name: "PeerAlert", alert: "internal_error" });
    });
    await servesOn(bench);
  });
});

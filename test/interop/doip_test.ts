// Our DoIP against programs that we did not write: scapy as tester and as entity, tshark over what crossed the wire.

import assert from "node:assert/strict";
import { DoipConnection } from "../../hardware/doip/client.ts";
import { discover } from "../../hardware/doip/discover.ts";
import { DiagnosticNackError, RoutingActivationError } from "../../hardware/doip/errors.ts";
import { DoipEntity } from "../../hardware/doip/server.ts";
import { interopTest, peers } from "../support/peers.ts";
import { Recorder } from "./doip/recorder.ts";

const vin = "WDB1234567F890123";
const readVin = Uint8Array.fromHex("22f190");
const vinAnswer = Uint8Array.fromHex("62f1905744423132333435363746383930313233");
const limit = { timeout: 3_000 };

/** An entity whose one ECU knows its VIN and answers like a real one: some milliseconds after the acknowledgement. */
function entityAt(hostname: string, port = 0): Promise<DoipEntity> {
  return DoipEntity.listen({
    hostname,
    port,
    vin,
    logicalAddress: 0x1000,
    eid: Uint8Array.fromHex("020000000001"),
    gid: Uint8Array.fromHex("020000000002"),
    nodes: new Map([[0x1001, {
      handle(request, _context, respond) {
        const known = request.toHex() === "22f190";
        const answer = known ? vinAnswer : Uint8Array.of(0x7f, request[0], 0x11);
        setTimeout(() => respond(answer), 5);
      },
    }]]),
    functional: new Map([[0xe400, [0x1001]]]),
    timers: { announceWait: 0 },
  });
}

/** Runs a Python script and gives its lines; its error output is the failure's message. */
async function python(script: string, ...args: string[]): Promise<string[]> {
  const path = new URL(`./doip/${script}`, import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command("/usr/bin/python3", { args: [path, ...args] })
    .output();
  const text = new TextDecoder();
  assert.ok(success, text.decode(stderr));
  return text.decode(stdout).trim().split("\n");
}

interopTest("scapy discovers our entity, activates routing and reads the VIN", [peers.scapy], async () => {
  await using entity = await entityAt("127.0.31.20", 13_400);
  const identity = `WDB1234567F890123 0x1000 020000000001 020000000002 0 0`;
  for (const version of [2, 3]) {
    assert.deepEqual(await python("scapy_tester.py", entity.hostname, `${entity.port}`, `${version}`), [
      `identification 0x4 2 ${identity}`,
      `identification 0x4 ${version} ${identity}`,
      `identification 0x4 ${version} ${identity}`,
      "status 0x4002 0 32 0 1048576",
      "power 0x4004 1",
      "nack 0x0 1",
      "uds socket 62f1905744423132333435363746383930313233",
      `doip socket ${version} 0x1001 0xe01 62f1905744423132333435363746383930313233`,
      "refused 0x8003 0x3",
      "denied 0x6 0x0 True",
    ]);
  }
});

interopTest("our client reads the VIN from an entity made of scapy's DoIP layer", [peers.scapy], async () => {
  const path = new URL("./doip/scapy_entity.py", import.meta.url).pathname;
  const peer = new Deno.Command("/usr/bin/python3", {
    args: [path, "127.0.31.21"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    const reader = peer.stdout.getReader();
    const { value } = await reader.read();
    const port = Number(new TextDecoder().decode(value));
    await reader.cancel();
    for (const protocolVersion of [2, 3, 4]) {
      const warnings: string[] = [];
      await using connection = await DoipConnection.connect({
        hostname: "127.0.31.21",
        port,
        protocolVersion,
        warn: (message) => warnings.push(message),
      });
      assert.equal(connection.entityAddress, 0x1000);
      for (const target of [0x1001, 0x1002, 0x1003, 0x1003, 0x1005, 0x1001]) {
        const ecu = connection.transport(target);
        await ecu.send(readVin, limit);
        assert.deepEqual(await ecu.receive(limit), vinAnswer, `target ${target.toString(16)}`);
      }
      await assert.rejects(
        connection.transport(0x1004).send(readVin, limit),
        (error) => error instanceof DiagnosticNackError && error.code === 6,
      );
      // Only 0x1003 leaves the acknowledgement out, and one warning is enough for it.
      assert.equal(warnings.length, 1);
      assert.match(warnings[0], /0x1003: no acknowledgement/);
    }
    await assert.rejects(
      DoipConnection.connect({ hostname: "127.0.31.21", port, sourceAddress: 0x0e55 }),
      (error) => error instanceof RoutingActivationError && error.code === 0,
    );
  } finally {
    await peer.stdin.close();
    await peer.status;
  }
});

interopTest(
  "tshark finds nothing malformed in what our client and entity say to each other",
  [peers.tshark],
  async () => {
    await using entity = await entityAt("127.0.31.22", 13_400);
    const recorder = await Recorder.start(
      { hostname: "127.0.31.23", port: 13_400 },
      { hostname: entity.hostname, port: entity.port },
    );
    for (const protocolVersion of [1, 2, 3, 4]) {
      const found = await discover({ targets: [recorder.address], protocolVersion, enough: 1 });
      assert.equal(found[0].vin, vin);
      await using connection = await DoipConnection.connect({ ...recorder.address, protocolVersion });
      const ecu = connection.transport(0x1001);
      for (const request of ["22f190", "3e80"]) {
        await ecu.send(Uint8Array.fromHex(request), limit);
        await ecu.receive(limit);
      }
      const group = connection.transport(0xe400);
      await group.send(readVin, limit);
      await group.receive(limit);
      await assert.rejects(connection.transport(0x1777).send(readVin, limit), DiagnosticNackError);
      await assert.rejects(
        DoipConnection.connect({ ...recorder.address, protocolVersion, sourceAddress: 0x1234 }),
        (error) => error instanceof RoutingActivationError && error.code === 0,
      );
      // The first connection is asked for a sign of life, gives it, and keeps its address.
      await assert.rejects(
        DoipConnection.connect({ ...recorder.address, protocolVersion }),
        (error) => error instanceof RoutingActivationError && error.code === 3,
      );
    }
    await discover({ targets: [recorder.address], vin, enough: 1 });
    await discover({ targets: [recorder.address], eid: Uint8Array.fromHex("020000000001"), enough: 1 });
    await recorder.ask("02fd400100000000");
    await recorder.ask("02fd400300000000");
    await recorder.ask("02fd123400000000");
    await recorder.close();

    const packets = await dissect(recorder.pcap());
    assert.deepEqual(packets.filter(({ broken }) => broken), []);
    const messages = packets.flatMap(({ types, tcp }) => types.map((type) => ({ type, tcp })));
    assert.deepEqual(
      [...new Set(messages.map(({ type }) => type))].sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x1234, 0x4001, 0x4002, 0x4003, 0x4004, 0x8001, 0x8002, 0x8003],
    );
    const versions = new Set(packets.filter(({ tcp }) => tcp).flatMap(({ versions }) => versions));
    assert.deepEqual([...versions].sort(), ["0x01", "0x02", "0x03", "0x04"]);
    // Physically and by the group, in four versions.
    assert.equal(packets.filter(({ uds }) => uds === "0x22 reply").length, 8);
    assert.equal(packets.filter(({ uds }) => uds === "0x3f reply").length, 4);
  },
);

/** What tshark makes of one packet. */
interface Dissected {
  frame: string;
  /** Malformed, of illegal length, or with an expert remark from warning (0x600000) upwards. */
  broken: boolean;
  tcp: boolean;
  /** DoIP payload types and versions, one a message. */
  types: number[];
  versions: string[];
  /** UDS service, as tshark sees it, and whether it is an answer. */
  uds: string;
}

/** Has tshark read a capture. */
async function dissect(capture: Uint8Array): Promise<Dissected[]> {
  const fields = [
    "frame.number",
    "_ws.malformed",
    "doip.illegal_length_field",
    "_ws.expert.severity",
    "tcp.stream",
    "doip.type",
    "doip.version",
    "uds.sid",
    "uds.reply",
  ];
  const file = await Deno.makeTempFile({ suffix: ".pcap" });
  try {
    await Deno.writeFile(file, capture);
    const args = ["-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])];
    const { success, stdout, stderr } = await new Deno.Command("tshark", { args }).output();
    const text = new TextDecoder();
    assert.ok(success, text.decode(stderr));
    return text.decode(stdout).split("\n").filter((line) => line !== "").map((line) => {
      const [frame, malformed, illegalLength, severity, stream, types, versions, sid, reply] = line.split(
        "\t",
      );
      return {
        frame,
        broken: malformed !== "" || illegalLength !== "" ||
          severity.split(",").some((value) => Number(value) >= 0x600000),
        tcp: stream !== "",
        types: types.split(",").filter((type) => type !== "").map(Number),
        versions: versions.split(",").filter((version) => version !== ""),
        uds: `${sid} ${Number(reply) === 1 ? "reply" : "request"}`,
      };
    });
  } finally {
    await Deno.remove(file);
  }
}

import assert from "node:assert/strict";
import { join } from "node:path";
import { tappedStream } from "../../../hardware/trace/tapped_stream.ts";
import { BusTrace } from "../../../hardware/trace/trace.ts";
import { RotatingFile } from "../../../hardware/trace/rotating_file.ts";
import { TraceError } from "../../../hardware/trace/errors.ts";
import { temporaryFolder } from "../../support/program.ts";

const now = () => 1_436_509_052_249_713;
const local = { hostname: "127.0.0.1", port: 40_000 };
const remote = { hostname: "127.0.10.1", port: 13_400 };

Deno.test("a file that ends in .log is a candump log, DoIP is counted as unsuited", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "bus.log");
  const trace = await BusTrace.open({ path, now });
  const can = trace.can("can 0");
  can.frame("sent", { id: 0x7e0, extended: false, data: Uint8Array.fromHex("0210030000000000") });
  can.frame("received", { id: 0x18daf110, extended: true, data: Uint8Array.fromHex("0211"), fd: true });
  const data = new Uint8Array(12);
  can.frame("sent", { id: 1, extended: false, data, fd: true, bitRateSwitch: true });
  can.frame("sent", { id: 0x123, extended: false, data: new Uint8Array(0), remote: true, remoteLength: 8 });
  trace.network("ZG").connection(local, remote, "us").sent(Uint8Array.of(1));
  assert.deepEqual(await trace.close(), { kept: 4, lost: 0, unsuited: 1 });
  assert.equal(
    await Deno.readTextFile(path),
    "(1436509052.249713) can_0 7E0#0210030000000000\n" +
      "(1436509052.249713) can_0 18DAF110##00211\n" +
      "(1436509052.249713) can_0 001##1000000000000000000000000\n" +
      "(1436509052.249713) can_0 123#R8\n",
  );
});

Deno.test("a pcapng file begins with section and interface, and holds a datagram as it is on the wire", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "bus.pcapng");
  const trace = await BusTrace.open({ path, now });
  trace.network("ZG").datagram("sent", local, remote, Uint8Array.fromHex("02fd000100000000"));
  await trace.close();
  const hex = (await Deno.readFile(path)).toHex();
  const section = "0a0d0d0a" + "30000000" + "4d3c2b1a" + "01000000" + "ffffffffffffffff" +
    "04000900" + "7a6f6e6562656e6368000000" + "00000000" + "30000000";
  const description = "01000000" + "28000000" + "01000000" + "00000000" + "02000200" + "5a470000" +
    "09000100" + "06000000" + "00000000" + "28000000";
  // Checksums worked out by RFC 791 and RFC 768, apart from the code under test.
  const ip = "4500002400004000" + "4011" + "32c7" + "7f000001" + "7f000a01";
  const udp = "9c40" + "3458" + "0010" + "2435" + "02fd000100000000";
  const packet = "02007f000a01" + "02007f000001" + "0800" + ip + udp;
  assert.equal(hex.slice(0, section.length), section);
  assert.equal(hex.slice(section.length, section.length + description.length), description);
  assert.ok(hex.includes(packet), hex);
});

Deno.test("records that the disk cannot take are counted, and one warning is given", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "bus.pcapng");
  const warnings: string[] = [];
  const trace = await BusTrace.open({ path, maxQueued: 10_000, warn: (message) => warnings.push(message) });
  const connection = trace.network("ZG").connection(local, remote, "us");
  for (let n = 0; n < 100; n++) connection.sent(new Uint8Array(1_000));
  const { kept, lost } = await trace.close();
  assert.equal(kept + lost, 103);
  assert.ok(lost > 80 && kept > 3, `${kept} kept, ${lost} lost`);
  assert.equal(warnings.length, 1);
});

Deno.test("a trace whose file cannot be made is refused, one whose disk fails later ends alone", async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(BusTrace.open({ path: join(folder.path, "missing", "x.pcapng") }), TraceError);
  await assert.rejects(BusTrace.open({ path: join(folder.path, "x"), maxFiles: 0 }), /maxFiles: .* got 0/);
  const warnings: string[] = [];
  const trace = await BusTrace.open({ path: "/dev/full", warn: (message) => warnings.push(message) });
  const connection = trace.network("ZG").connection(local, remote, "us");
  connection.sent(new Uint8Array(300_000));
  await trace.close();
  assert.match(warnings[0], /\/dev\/full: writing failed, the trace ends here/);
});

Deno.test("RotatingFile keeps so many files, the newest first, each with its preamble", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "log");
  const file = await RotatingFile.create(path, {
    maxFileSize: 20,
    maxFiles: 3,
    preamble: () => new TextEncoder().encode("head "),
  });
  for (const record of ["one....", "two....", "three..", "four...", "five...", "six....", "seven.."]) {
    const place = file.place(record.length);
    assert.ok(place !== undefined);
    place.bytes.set(new TextEncoder().encode(record), place.at);
  }
  await file.close();
  const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
  assert.deepEqual(names, ["log", "log.1", "log.2"]);
  assert.equal(await Deno.readTextFile(path), "head seven..");
  assert.equal(await Deno.readTextFile(`${path}.1`), "head five...six....");
  assert.equal(await Deno.readTextFile(`${path}.2`), "head three..four...");
});

Deno.test("tappedStream() shows what is sent once, however often the stream takes only a part of it", async () => {
  const shown: string[] = [];
  const tap = {
    sent: (bytes: Uint8Array) => shown.push(`> ${bytes.toHex()}`),
    received: (bytes: Uint8Array) => shown.push(`< ${bytes.toHex()}`),
    secrets: () => {},
    closed: () => shown.push("closed"),
  };
  const stream = tappedStream({
    read: (into) => {
      into.set([7, 8]);
      return Promise.resolve(2);
    },
    write: (bytes) => Promise.resolve(Math.min(2, bytes.length)),
    close: () => {},
  }, tap);
  const bytes = Uint8Array.of(1, 2, 3, 4, 5);
  for (let sent = 0; sent < bytes.length;) sent += await stream.write(bytes.subarray(sent));
  await stream.read(new Uint8Array(4));
  await stream.write(Uint8Array.of(9));
  stream.close();
  assert.deepEqual(shown, ["> 0102030405", "< 0708", "> 09", "closed"]);
});

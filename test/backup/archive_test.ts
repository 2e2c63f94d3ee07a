// Backups written and read again, and everything that a file can do instead of being one.

import assert from "node:assert/strict";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { ArchiveWriter } from "../../src/backup/archive_writer.ts";
import { BackupError, BadBackup, NewerBackup } from "../../src/backup/errors.ts";
import { sampleBytes } from "../support/firmware_files.ts";
import { backupOf, Collected, framed, head, made, readBytes, tarOf, text } from "./support.ts";

/** Longer than a frame, which holds 2 MiB, and no multiple of a tar block. */
const long = sampleBytes(5_000_001, 7);
/** Neither name nor prefix of ustar hold this: 100 and 155 bytes. */
const longName = `repo/image/targets/${"a_long_folder/".repeat(15)}${"ä".repeat(60)}.bin`;

async function refused(
  bytes: Uint8Array,
  message: RegExp,
  kind: typeof BackupError = BadBackup,
): Promise<void> {
  await assert.rejects(readBytes(bytes), (error: unknown) => {
    assert.ok(error instanceof kind, String(error));
    assert.match(error.message, message);
    return true;
  });
}

/** A tar of a head and these entries, with a manifest that says nothing of them. */
const withHead = (...entries: [string, Uint8Array][]) => tarOf([["zonebench-backup.json", head], ...entries]);

Deno.test("what was written is read again, long files and long names too", async () => {
  const files = { "empty": new Uint8Array(), "images/long.bin": long, [longName]: text("x") };
  const { manifest, files: found } = await readBytes(await backupOf(files));
  assert.deepEqual(Object.fromEntries(found), files);
  assert.deepEqual(manifest.entries.map(({ path, size }) => [path, size]), [
    ["zonebench-backup.json", 110],
    ["data/empty", 0],
    ["data/images/long.bin", 5_000_001],
    [`data/${longName}`, 1],
  ]);
  // printf x | sha256sum
  assert.equal(
    manifest.entries[3].sha256,
    "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
  );
});

Deno.test("a file that is longer or shorter than it was is not written down", async () => {
  for (const body of [text("four"), text("tw")]) {
    const writer = new ArchiveWriter(() => Promise.resolve(), made);
    await assert.rejects(
      writer.add({ path: "data/x", size: 3 }, [body]),
      /data\/x: it was changed while it was read/,
    );
  }
});

Deno.test("another kind of file is said to be none of ours", async () => {
  await refused(new Uint8Array(), /expected a backup/);
  await refused(text("#!/bin/sh\necho this is a script and no backup\n"), /expected a backup/);
  await refused(new Uint8Array(zstdCompressSync(text("x".repeat(1000)))), /expected a backup/);
  await refused(await framed(text("x".repeat(1000))), /tar header/);
  await refused(await framed(tarOf([["data/x", text("x")]])), /to be the first entry, got "data\/x"/);
});

Deno.test("a backup that is cut off is refused wherever that is", async () => {
  const whole = await backupOf({ "a": text("a"), "b": long });
  for (let part = 0; part < 20; part++) {
    await assert.rejects(readBytes(whole.subarray(0, Math.floor(whole.length * part / 20))), BadBackup);
  }
  await assert.rejects(readBytes(whole.subarray(0, -1)), /cut off/);
});

Deno.test("a backup in which one byte is another is refused, or still says the same", async () => {
  const files = { "a": sampleBytes(3000, 5) };
  const whole = await backupOf(files);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const damaged = whole.slice();
      damaged[at] ^= flip;
      try {
        // Of zstd's form not every bit counts, of what comes out every one.
        assert.deepEqual(Object.fromEntries((await readBytes(damaged)).files), files);
      } catch (error) {
        assert.ok(error instanceof BackupError, String(error));
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("any bytes in a tar give an error of ours or a backup, never anything else", async () => {
  const good = withHead(["data/a", text("a")]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      async (changes) => {
        const bytes = good.slice();
        for (const [at, value] of changes) bytes[at] = value;
        await assert.rejects(readBytes(await framed(bytes)), BackupError);
      },
    ),
    { numRuns: 150 },
  );
});

Deno.test("no name leads out of the data folder or to what the program keeps for itself", async () => {
  const names = [
    "../x",
    "data/../x",
    "data/a/../../x",
    "/etc/passwd",
    "data//etc/passwd",
    "data/.",
    "data/a/..",
    "data/",
    "data/a\\..\\b",
    "data/a\nb",
    "data/db/pg/PG_VERSION",
    "data/restore.unfinished/x",
    "data/replaced-x/y",
    "data/tmp/x",
    `data/${"a".repeat(256)}`,
    `data/${"a/".repeat(40)}a`,
    "database/1.jsonl",
    "database/../x",
    "other",
  ];
  for (const name of names) {
    await refused(await framed(withHead([name, text("x")])), /^entry ".*: expected/, BackupError);
  }
});

Deno.test("links, devices and folders are refused", async () => {
  for (const type of ["1", "2", "3", "4", "5", "6", "7", "g", "L"]) {
    const tar = tarOf([["zonebench-backup.json", head], ["data/link", text("x")]], (header, path) => {
      if (path !== "data/link") return;
      header[156] = type.charCodeAt(0);
      header.fill(0x20, 148, 156);
      const sum = header.reduce((sum, byte) => sum + byte, 0);
      header.set(text(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
    });
    await refused(await framed(tar), /expected a regular file, got type/);
  }
});

Deno.test("a header whose checksum is wrong is refused", async () => {
  const tar = tarOf([["zonebench-backup.json", head], ["data/a", text("x")]], (header, path) => {
    // Its mode, changed without the checksum.
    if (path === "data/a") header[104] ^= 1;
  });
  await refused(await framed(tar), /expected ustar with its checksum/);
});

Deno.test("an entry comes once, and none is both file and folder", async () => {
  await refused(await framed(withHead(["data/a", text("1")], ["data/a", text("2")])), /each name once/);
  await refused(await framed(withHead(["data/a", text("1")], ["data/a/b", text("2")])), /is a file already/);
  await refused(await framed(withHead(["data/a/b", text("1")], ["data/a", text("2")])), /each name once/);
});

Deno.test("a size that lies is found", async () => {
  const lying = (size: number) =>
    tarOf([["zonebench-backup.json", head], ["data/a", text("x".repeat(700))]], (header, path) => {
      if (path !== "data/a") return;
      header.set(text(size.toString(8).padStart(11, "0")), 124);
      header.fill(0x20, 148, 156);
      const sum = header.reduce((sum, byte) => sum + byte, 0);
      header.set(text(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
    });
  await refused(await framed(lying(8 ** 11 - 1)), /cut off: "data\/a" has 8589934591 bytes/);
  await refused(await framed(lying(100)), /tar header/);
});

Deno.test("what the manifest does not say so is refused", async () => {
  const manifest = (entries: unknown[]) =>
    text(JSON.stringify({ ...JSON.parse(new TextDecoder().decode(head)), sqlite: [], keys: false, entries }));
  const headEntry = {
    path: "zonebench-backup.json",
    size: head.length,
    sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", head)).toHex(),
  };
  const a = text("a");
  const listed = {
    path: "data/a",
    size: 1,
    sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", a)).toHex(),
  };
  const of = (entries: unknown[]) => framed(withHead(["data/a", a], ["manifest.json", manifest(entries)]));
  await readBytes(await of([headEntry, listed]));
  await refused(await of([headEntry]), /expected the 1 entries of the manifest, got 2/);
  await refused(
    await of([headEntry, { ...listed, sha256: "0".repeat(64) }]),
    /"data\/a": expected 1 bytes.*damaged/,
  );
  await refused(await of([headEntry, { ...listed, size: 2 }]), /damaged/);
  await refused(await of([headEntry, { ...listed, path: "data/b" }]), /"data\/b".*got "data\/a"/);
  await refused(await framed(withHead(["data/a", a])), /expected a manifest/);
  await refused(
    await framed(withHead(["manifest.json", manifest([headEntry])], ["data/a", a])),
    /expected the manifest to be the last entry, got "data\/a"/,
  );
  await refused(await framed(withHead(["manifest.json", text("{")])), /the manifest: expected JSON/);
});

Deno.test("a backup of a newer program is refused with what to do", async () => {
  const newer = text('{"format":"zonebench-backup","version":2,"program":"9.0.0","more":true}');
  await refused(
    await framed(tarOf([["zonebench-backup.json", newer]])),
    /form 2, made by zonebench 9\.0\.0.*newer/,
    NewerBackup,
  );
});

Deno.test("a file that gives more than there is room for is not read to its end", async () => {
  // 40 MiB of zeros, in two kilobytes.
  const bomb = await framed(withHead(["data/bomb", new Uint8Array(40 * 1024 * 1024)]));
  assert.ok(bomb.length < 10_000);
  await assert.rejects(readBytes(bomb, 10 * 1024 * 1024), /10485760 bytes of content at most/);
});

Deno.test("a frame that says or holds more than frames do is refused before it costs memory", async () => {
  const frame = zstdCompressSync(new Uint8Array(3 * 1024 * 1024));
  const headed = (length: number) => {
    const bytes = new Uint8Array(12 + frame.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 0x184d2a50, true);
    view.setUint32(4, 4, true);
    view.setUint32(8, length, true);
    bytes.set(frame, 12);
    return bytes;
  };
  await refused(headed(frame.length), /byte 0: the file is damaged/);
  await refused(headed(0xffff_fff0), /frame of \d+ bytes at most, got 4294967280/);
  await refused(headed(frame.length + 1), /cut off/);
});

Deno.test("what stands behind a backup is refused", async () => {
  const whole = await backupOf({ a: text("a") });
  const more = new Uint8Array(whole.length + 20);
  more.set(whole);
  await assert.rejects(readBytes(more), BadBackup);
  const twice = new Collected();
  await twice.sink(whole);
  await twice.sink(whole);
  await refused(twice.bytes, /behind the archive's end/);
});

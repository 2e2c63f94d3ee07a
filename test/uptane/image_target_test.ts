// What the catalogue's images are called in the repositories, and what is signed of where their bytes go. The hashes were made by
// Python's json and hashlib of the forms that stand beside them.

import assert from "node:assert/strict";
import { targetName, targetSchema } from "../../src/uptane/models.ts";
import { imageTarget, imageTargetName, layoutHash } from "../../src/uptane/image_target.ts";

const name = (hwVersion: string, version = "1.0.0") =>
  imageTargetName({ ecuType: "BODY_CONTROLLER", hwVersion, version });

Deno.test("an image is called by its type, hardware and version", () => {
  assert.equal(name("1.0", "1.2.0-rc.1+7"), "BODY_CONTROLLER/1.0/1.2.0-rc.1+7.bin");
});

Deno.test("what names of images do not take is escaped, and no two images have one name", () => {
  assert.equal(name("HW 2/é"), "BODY_CONTROLLER/HW~202~2f~c3~a9/1.0.0.bin");
  assert.equal(name(".5"), "BODY_CONTROLLER/_~~.5/1.0.0.bin");
  assert.equal(name(" 5"), "BODY_CONTROLLER/_~~~205/1.0.0.bin");
  const hardware = [
    "1",
    " 1",
    "_1",
    "_ 1",
    "~201",
    "_~~1",
    "~~1",
    "-1",
    "..",
    "../..",
    "é",
    "e\u0301",
    "\u{1f600}",
  ];
  const odd = [...hardware, "x".repeat(128), "é".repeat(128), `${"é".repeat(127)}e`];
  const names = odd.map((it) => name(it));
  assert.equal(new Set(names).size, odd.length);
  for (const it of names) assert.ok(targetName.safeParse(it).success, it);
});

Deno.test("the layout's hash is that of its canonical form", () => {
  // {"download":null,"segments":[{"address":32768,"length":16},{"address":65536,"length":4}]}
  assert.equal(
    layoutHash({ segments: [{ address: 0x8000, length: 16 }, { address: 0x10000, length: 4 }] }),
    "4170d3368c957090327dc954c83fc9347e29ccb3637d525dd8368b7a570c6ab1",
  );
  // {"download":{"call":0,"data_format":16,"erase":[{"address":32768,"length":4096}]},"segments":[{"address":32768,"length":16}]}
  assert.equal(
    layoutHash({
      download: { erase: [{ length: 4096, address: 0x8000 }], call: 0, data_format: 0x10 },
      segments: [{ length: 16, address: 0x8000 }],
    }),
    "fceaddb99866edbaceb9168c77da8fc34457d4c7787e780d73abf52039701fde",
  );
});

Deno.test("what is signed of an image are its bytes, its hardware and where it goes", () => {
  const sha256 = "ab".repeat(32);
  const target = imageTarget({
    ecuType: "BODY_CONTROLLER",
    hwVersion: "1.0",
    version: "1.2.0",
    segments: [{ address: 0x8000, length: 16 }, { address: 0x10000, length: 4 }],
    sha256,
    size: 20,
  });
  assert.deepEqual(targetSchema.parse(target), {
    length: 20,
    hashes: { sha256 },
    custom: {
      must_match: {
        hardware_ids: ["1.0"],
        ecu_types: ["BODY_CONTROLLER"],
        version: "1.2.0",
        release_counter: 0,
        layout_sha256: "4170d3368c957090327dc954c83fc9347e29ccb3637d525dd8368b7a570c6ab1",
      },
    },
  });
});

// A package against what was verified for its ECUs: whatever differs has a code of its own.

import assert from "node:assert/strict";
import type { PackageEcu, PackageManifest } from "../../../src/contract/package.ts";
import { imageTarget } from "../../../src/uptane/image_target.ts";
import type { VerifiedTarget } from "../../../src/uptane/verify/full.ts";
import { matchPackage } from "../../../src/vmg/uptane/package_match.ts";
import { refused } from "../../uptane/fake_repositories.ts";

const sha256 = "ab".repeat(32);
const image = {
  ecuType: "BRAKE",
  hwVersion: "1.0",
  version: "1.2.0",
  segments: [{ address: 0x8000, length: 16 }, { address: 0x10000, length: 4 }],
  sha256,
  size: 20,
  releaseCounter: 7,
};
const { length, hashes, custom } = imageTarget(image);

function target(ecuId: string, differs: Partial<VerifiedTarget> = {}): VerifiedTarget {
  return {
    ecuId,
    hardwareId: "1.0",
    filename: "BRAKE/1.0/1.2.0.bin",
    length,
    hashes,
    mustMatch: custom?.must_match,
    releaseCounter: 7,
    imageRole: "targets",
    ...differs,
  };
}

const good: Pick<PackageEcu, "ecu_type" | "hw_version" | "version" | "release" | "image"> = {
  ecu_type: "BRAKE",
  hw_version: "1.0",
  version: "1.2.0",
  release: 7,
  image: {
    image_id: "00000000-0000-4000-8000-000000000000",
    sha256,
    size: 20,
    segments: image.segments,
  },
};

/** A package for these ECUs. What has to do with where blobs lie in the file is not looked at. */
function manifest(ecus: Record<string, typeof good>): PackageManifest {
  const entries = Object.entries(ecus).map(([ecu_id, entry]) => ({ ecu_id, ...entry }));
  const [first, ...rest] = entries;
  return {
    package_id: "11111111-1111-4111-8111-111111111111",
    zonal_gateways: [
      { zonal_gateway_id: "ZG_BODY", ecus: [first] },
      ...rest.map((entry) => ({ zonal_gateway_id: "ZG_CHASSIS", ecus: [entry] })),
    ],
  } as PackageManifest;
}

const targets = [target("ECU_001"), target("ECU_002")];

Deno.test("a package with exactly what was directed passes, each check told", () => {
  const seen: string[] = [];
  matchPackage(manifest({ ECU_001: good, ECU_002: good }), targets, ({ code }) => seen.push(code));
  const each = [
    "package_directed",
    "package_hash",
    "package_length",
    "package_hardware",
    "package_ecu_type",
    "package_version",
    "package_release",
    "package_layout",
  ];
  assert.deepEqual(seen, [...each, ...each, "package_complete"]);
});

Deno.test("a release that neither says is the same as 0", () => {
  const { release: _, ...without } = good;
  const unnumbered = target("ECU_001", {
    releaseCounter: 0,
    mustMatch: custom?.must_match && { ...custom.must_match, release_counter: undefined },
  });
  matchPackage(manifest({ ECU_001: without }), [unnumbered]);
});

const differing: [string, Partial<typeof good>, string, string][] = [
  [
    "other bytes",
    { image: { ...good.image, sha256: "cd".repeat(32) } },
    "package_hash",
    "arbitrary software",
  ],
  ["another length", { image: { ...good.image, size: 21 } }, "package_length", "arbitrary software"],
  ["other hardware", { hw_version: "2.0" }, "package_hardware", "wrong hardware"],
  ["another type", { ecu_type: "DOOR" }, "package_ecu_type", "wrong hardware"],
  ["another version", { version: "1.2.1" }, "package_version", "mix-and-match"],
  ["another release", { release: 6 }, "package_release", "rollback"],
  ["no release", { release: undefined }, "package_release", "rollback"],
  [
    "another address",
    {
      image: { ...good.image, segments: [{ address: 0x8000, length: 16 }, { address: 0x20000, length: 4 }] },
    },
    "package_layout",
    "arbitrary software",
  ],
  [
    "other segments",
    { image: { ...good.image, segments: [{ address: 0x8000, length: 20 }] } },
    "package_layout",
    "arbitrary software",
  ],
  [
    "a download of another kind",
    { image: { ...good.image, download: { data_format: 0x10 } } },
    "package_layout",
    "arbitrary software",
  ],
];
for (const [what, differs, code, attack] of differing) {
  Deno.test(`a package with ${what} for one of its ECUs is refused: ${code}`, async () => {
    const made = manifest({ ECU_001: good, ECU_002: { ...good, ...differs } });
    const error = await refused(
      Promise.resolve().then(() => matchPackage(made, targets)),
      code,
      attack,
    );
    assert.match(error.message, /^package 11111111-1111-4111-8111-111111111111, ECU_002: expected /);
  });
}

Deno.test("a package with an image for an ECU that gets none is refused", async () => {
  const made = manifest({ ECU_001: good, ECU_002: good, ECU_003: good });
  await refused(
    Promise.resolve().then(() => matchPackage(made, targets)),
    "package_directed",
    "arbitrary software",
  );
});

Deno.test("a package without an image that was directed is a partial bundle", async () => {
  const made = manifest({ ECU_002: good });
  const error = await refused(
    Promise.resolve().then(() => matchPackage(made, targets)),
    "package_complete",
    "partial bundle",
  );
  assert.match(error.message, /got none for ECU_001$/);
});

Deno.test("what the repositories did not sign of an image is nothing that a package may say", async (test) => {
  const { layout_sha256: _, ...mustMatch } = custom?.must_match ?? { hardware_ids: [] };
  const without: [string, Partial<VerifiedTarget>, string][] = [
    ["its layout", { mustMatch }, "package_layout"],
    [
      "its version",
      { mustMatch: { ...custom?.must_match, hardware_ids: ["1.0"], version: undefined } },
      "package_version",
    ],
    [
      "its type",
      { mustMatch: { ...custom?.must_match, hardware_ids: ["1.0"], ecu_types: undefined } },
      "package_ecu_type",
    ],
    ["anything", { mustMatch: undefined }, "package_hardware"],
  ];
  for (const [what, differs, code] of without) {
    await test.step(what, async () => {
      const made = Promise.resolve().then(() =>
        matchPackage(manifest({ ECU_001: good }), [target("ECU_001", differs)])
      );
      await assert.rejects(made, { code });
    });
  }
});

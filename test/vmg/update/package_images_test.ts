// What a VBF file says of its download goes with the image, from the catalogue's package to the vehicle.

import assert from "node:assert/strict";
import { ImageStore } from "../../../src/vmg/update/image_store.ts";
import { preparedImage } from "../../../src/vmg/update/package_images.ts";
import { build, noise, open, part, withWorkbench } from "../../codec/support.ts";

const image_id = "6a1c1f1e-58b0-4d6c-9d34-0f9b6a1f7c01";

Deno.test("data format, ranges to erase and the address to call come out of the package as they went in", async () => {
  await withWorkbench(async (bench) => {
    const entry = await part(bench, "ECU_001", noise(5_000, 3));
    const download = { data_format: 0x10, erase: [{ address: 0, length: 0x10000 }], call: 0x8004 };
    // Compressed segments: their lengths are not those in memory, so that they may seem to touch and to overlap.
    const segments = [{ address: 0x100, length: 3_000 }, { address: 0x100 + 1_000, length: 2_000 }];
    const ecu = { ...entry, image: { ...entry.image, image_id, segments, download } };
    await build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [ecu] }]);
    const bundle = await open(bench);
    const [found] = bundle.manifest.zonal_gateways[0].ecus;
    const image = preparedImage(
      found,
      new ImageStore({ directory: bench.directory, keep: 0, pool: bench.pool }),
    );
    assert.deepEqual(image.hints, {
      dataFormat: 0x10,
      erase: [{ address: 0, length: 0x10000 }],
      call: 0x8004,
    });
    assert.deepEqual(image.segments, segments);
  });
});

Deno.test("segments that overlap are refused where their lengths are those in memory", async () => {
  await withWorkbench(async (bench) => {
    const entry = await part(bench, "ECU_001", noise(5_000, 3));
    const segments = [{ address: 0x100, length: 3_000 }, { address: 0x100 + 1_000, length: 2_000 }];
    const ecu = { ...entry, image: { ...entry.image, image_id, segments, download: { data_format: 0 } } };
    await assert.rejects(
      build(bench, [{ zonal_gateway_id: "ZG_BODY", ecus: [ecu] }]),
      /ECU_001: segments overlap, touch or descend/,
    );
  });
});

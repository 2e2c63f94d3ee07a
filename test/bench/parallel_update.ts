// An update of eight ECUs end to end - command, download over TLS, verification, staging, activation, confirmation, commitment,
// last report - beside the time that the simulated flash alone takes to be erased and programmed, with the restart.
import { openPort } from "../../hardware/serial/open_port.ts";
import { buildPackage } from "../../src/codec/build_package.ts";
import { compressImage } from "../../src/codec/compress_image.ts";
import { CodecPool } from "../../src/codec/pool.ts";
import { silentLogger } from "../../src/log.ts";
import { generateSigningKey } from "../../src/pqc/signature.ts";
import { startVmg } from "../../src/vmg/mod.ts";
import type { VehicleDescription } from "../../src/vmg/vehicle.ts";
import { clientLeaf, serverLeaf, testAuthority } from "../support/certificates.ts";
import { imagesOf, TestRepositories } from "../support/repositories.ts";
import { Counterpart, serveFile } from "../vmg/support/counterpart.ts";
import { canAddress, type ParallelFlashPorts } from "./parallel_flash_ecus.ts";
import type { BenchRow } from "./row.ts";

const vin = "KMHBENCH000000001";
const vmgId = "VMG-062";
const sizes = { ethernet: 8 << 20, can: 32 << 10 } as const;
/** The simulator's own times: 25 ms for 16 KiB to be erased, 0.8 ms for 1 KiB to be programmed, 400 ms to boot. */
const flashTime = (size: number) => Math.ceil(size / 16_384) * 25 + size / 1_024 * 0.8 + 400;

/** Runs one update of all. The first one's other bank is blank: a second one, whose bank is not, is the one measured. */
export async function run(): Promise<BenchRow[]> {
  const worker = new Worker(new URL("./parallel_flash_servers.ts", import.meta.url), { type: "module" });
  await using open = new AsyncDisposableStack();
  open.defer(() => worker.terminate());
  const ports = await new Promise<ParallelFlashPorts>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<ParallelFlashPorts>) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
  const authority = await testAuthority("Bench Authority");
  const trust = authority.trust;
  const server = await Counterpart.start({ credentials: await serverLeaf(authority), trust });
  open.defer(() => server.close());
  const pool = open.use(new CodecPool());
  const key = await generateSigningKey();
  const directory = await Deno.makeTempDir({ prefix: "bench-update-" });
  open.defer(() => Deno.remove(directory, { recursive: true }));
  const vehicle = describe(ports);
  const repositories = await TestRepositories.found(vin);
  server.give(repositories);
  const vmg = await startVmg({
    vehicle,
    directory: `${directory}/${vin}`,
    credentials: await clientLeaf(authority, { commonName: `vehicle-${vin}` }),
    trust,
    packageKeys: [key.publicKey],
    uptane: {
      roots: repositories.roots,
      software: { filename: "zonebench/gateway/0.1.0.bin", length: 1, sha256: "00".repeat(32) },
    },
    pool,
    https: { hostname: "127.0.0.1", port: server.httpsPort },
    mqtt: { hostname: "127.0.0.1", port: server.mqttPort },
    log: silentLogger,
    update: { parallelFlash: 8 },
  });
  open.defer(() => vmg.stop());
  await server.connected();

  let last = 0;
  for (const version of ["2.0.0", "3.0.0", "4.0.0"]) {
    const packageId = crypto.randomUUID();
    const { bytes, etag } = await makePackage(packageId, version);
    server.on("GET", `/api/v1/ota/package/${packageId}`, serveFile({ bytes, etag: () => etag }).handler);
    const updateId = crypto.randomUUID();
    const began = performance.now();
    await server.send(`vehicle/${vmgId}/control`, {
      message_id: crypto.randomUUID(),
      command: "START_OTA_UPDATE",
      update_id: updateId,
      package_id: packageId,
      download_url: `/api/v1/ota/package/${packageId}`,
      target_ecus: vehicle.ecus.map(({ ecuId }) => ecuId),
    });
    const end = await server.ended(updateId);
    last = performance.now() - began;
    if (end.status !== "completed") throw new Error(`the update ended ${end.status}: ${end.error}`);
  }
  const alone = Math.max(flashTime(sizes.ethernet), flashTime(sizes.can));
  return [{
    what: "update of 8 ECUs end to end: 6 over DoIP, 8 MiB each; 2 over one CAN bus, 32 KiB each",
    value: `${(last / 1000).toFixed(2)} s`,
    beside: `the simulated flash alone ${(alone / 1000).toFixed(2)} s: ${(last / alone).toFixed(3)} times`,
  }];

  async function makePackage(
    packageId: string,
    version: string,
  ): Promise<{ bytes: Uint8Array; etag: string }> {
    const parts = [];
    for (const { ecuId, ecuType, zonalGatewayId, can } of vehicle.ecus) {
      const image = new Uint8Array(can === undefined ? sizes.ethernet : sizes.can);
      // Half noise, half zeros: about what firmware is.
      for (let at = 0; at < image.length; at += 65_536) {
        crypto.getRandomValues(image.subarray(at, Math.min(at + 32_768, image.length)));
      }
      const path = `${directory}/${ecuId}`;
      await Deno.writeFile(path, image);
      const blob = await compressImage(path, `${path}.zst`, { pool });
      parts.push({
        zonalGatewayId,
        part: {
          ecu_id: ecuId,
          ecu_type: ecuType,
          hw_version: "H1",
          version,
          image: {
            image_id: crypto.randomUUID(),
            sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", image)).toHex(),
            size: image.length,
            segments: [{ address: 0, length: image.length }],
          },
          blob: { path: `${path}.zst`, sha256: blob.sha256, length: blob.length },
        },
      });
    }
    const output = `${directory}/package.otap`;
    const zones = [...Map.groupBy(parts, ({ zonalGatewayId }) => zonalGatewayId)];
    const { etag, manifest } = await buildPackage({
      package_id: packageId,
      vehicle_id: vin,
      created: "2026-11-21T10:00:00Z",
      zonal_gateways: zones.map(([zonal_gateway_id, list]) => ({
        zonal_gateway_id,
        ecus: list.map(({ part }) => part),
      })),
      signingKey: key,
      output,
      pool,
    });
    await repositories.direct(imagesOf(manifest));
    return { bytes: await Deno.readFile(output), etag };
  }
}

function describe({ hostname, gateways, adapter }: ParallelFlashPorts): VehicleDescription {
  return {
    vin,
    vmgId,
    model: "Bench",
    year: 2026,
    gateways: gateways.map((port, at) => ({
      zonalGatewayId: `ZG_${at + 1}`,
      hostname,
      port,
      logicalAddress: 0x1000 * (at + 1),
    })),
    adapters: [{
      adapterId: "CAN_BENCH",
      where: "the bench",
      openLine: (signal) => openPort(`tcp://${hostname}:${adapter}`, { signal }),
      settings: { bitRate: 500_000, acknowledgement: "z" },
    }],
    ecus: Array.from({ length: 8 }, (_, at) => ({
      ecuId: `ECU_00${at + 1}`,
      // A type of its own: the images differ, and a type's version is one image.
      ecuType: `BENCH_${at + 1}`,
      zonalGatewayId: at < 3 ? "ZG_1" : "ZG_2",
      logicalAddress: 0x1101 + at,
      ...at < 6 ? {} : { can: { adapterId: "CAN_BENCH", address: canAddress(at + 1), isotp: {} } },
      flashPlan: { seedKey: { algorithm: "xor", constant: "A5" } as const, trial: true, restartPoll: 20 },
    })),
  };
}

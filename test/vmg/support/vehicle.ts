// A vehicle for tests: simulated gateways and ECUs on 127.0.36.n, its description, its certificate and its packages.

import { createHash, randomBytes } from "node:crypto";
import { SimulatedBench } from "../../../hardware/sim/bench.ts";
import { defaultSecurity } from "../../../hardware/sim/ecu_defaults.ts";
import type { SimulatedEcuOptions, SimulatedTiming } from "../../../hardware/sim/options.ts";
import { versionReportRoutine } from "../../../hardware/flash/version_report.ts";
import { buildPackage } from "../../../src/codec/build_package.ts";
import { compressImage } from "../../../src/codec/compress_image.ts";
import { makeImageDelta } from "../../../src/codec/image_delta.ts";
import { CodecPool } from "../../../src/codec/pool.ts";
import type { PackageCondition } from "../../../src/contract/package.ts";
import { createLogger, type Logger } from "../../../src/log.ts";
import { generateSigningKey, type SigningKey } from "../../../src/pqc/signature.ts";
import type { Credentials } from "../../../src/tls/types.ts";
import type { VmgOptions } from "../../../src/vmg/options.ts";
import { type RunningVmg, startVmg } from "../../../src/vmg/mod.ts";
import type { VehicleDescription } from "../../../src/vmg/vehicle.ts";
import { type DirectedImage, imagesOf, TestRepositories } from "../../support/repositories.ts";
import { clientLeaf, serverLeaf, testAuthority } from "../../support/certificates.ts";
import { Counterpart, type CounterpartOptions } from "./counterpart.ts";

export const vin = "KMHZZ81KBMU000036";
export const vmgId = "VMG-036";

/** What the gateway itself runs. */
const software = { filename: "zonebench/gateway/0.1.0", length: 1, sha256: "00".repeat(32) };

const bases = { ZG_BODY: "127.0.36.1", ZG_CHASSIS: "127.0.36.2" } as const;

/** The ECUs, by the gateway that they stand behind. */
const ecus: Record<keyof typeof bases, SimulatedEcuOptions[]> = {
  ZG_BODY: [ecu(1, "BODY_CONTROLLER"), ecu(2, "DOOR")],
  ZG_CHASSIS: [ecu(3, "BRAKE")],
};

function ecu(number: number, ecuType: string): SimulatedEcuOptions {
  return {
    ecuId: `ECU_00${number}`,
    ecuType,
    logicalAddress: 0x1100 + number,
    hwVersion: "HW-2.0",
    swVersion: "1.0.0",
    serialNumber: `SN-000${number}`,
    partNumber: `PN-000${number}`,
    supplier: "ACME",
    memory: [{ name: "main", address: 0, size: 256 * 1024 }],
    factoryImageSize: 4_096,
    bootTime: 50,
    versionReport: {},
  };
}

interface Identity {
  server: Credentials;
  vehicle: Credentials;
  trust: string;
  key: SigningKey;
}

let identity: Promise<Identity> | undefined;

async function makeIdentity(): Promise<Identity> {
  const authority = await testAuthority("Gateway Test Authority");
  return {
    server: await serverLeaf(authority),
    vehicle: await clientLeaf(authority, { commonName: `vehicle-${vin}` }),
    trust: authority.trust,
    key: await generateSigningKey(),
  };
}

/** What a bench may differ in. */
export interface TestBenchOptions {
  timing?: SimulatedTiming;
  banks?: 1 | 2;
  /** Merged into an ECU's options. */
  ecus?: Record<string, Partial<SimulatedEcuOptions>>;
  counterpart?: Partial<CounterpartOptions>;
  vmg?: Partial<VmgOptions>;
}

/** A vehicle, its server's stand-in and its folder. */
export class TestBench implements AsyncDisposable {
  readonly bench: SimulatedBench;
  readonly identity: Identity;
  readonly pool: CodecPool;
  readonly directory: string;
  readonly vehicle: VehicleDescription;
  readonly repositories: TestRepositories;
  readonly lines: string[] = [];
  server: Counterpart;
  readonly #options: TestBenchOptions;
  readonly #running = new Set<RunningVmg>();

  private constructor(
    bench: SimulatedBench,
    identity: Identity,
    server: Counterpart,
    repositories: TestRepositories,
    directory: string,
    options: TestBenchOptions,
  ) {
    this.bench = bench;
    this.identity = identity;
    this.server = server;
    this.repositories = repositories;
    server.give(repositories);
    this.directory = directory;
    this.#options = options;
    this.pool = new CodecPool();
    this.vehicle = {
      vin,
      vmgId,
      model: "Test",
      year: 2026,
      adapters: [],
      gateways: bench.gateways.map(({ zonalGatewayId, hostname, port, logicalAddress }) => ({
        zonalGatewayId,
        hostname,
        port,
        logicalAddress,
      })),
      ecus: bench.gateways.flatMap(({ zonalGatewayId, ecus }) =>
        ecus.map((
          { ecuId, logicalAddress, options: { ecuType, banks = 2, memory = [], versionReport } },
        ) => ({
          ecuId,
          ...versionReport === undefined ? {} : { versionReport: { routine: versionReportRoutine } },
          ecuType,
          zonalGatewayId,
          logicalAddress,
          flashPlan: {
            seedKey: defaultSecurity(ecuType).seedKey,
            trial: banks === 2,
            memory: memory.map(({ address, size, sectorSize = 16_384 }) => ({ address, size, sectorSize })),
          },
        }))
      ),
    };
  }

  static async start(options: TestBenchOptions = {}): Promise<TestBench> {
    const made = await (identity ??= makeIdentity());
    const bench = await SimulatedBench.start({
      timing: options.timing ?? "none",
      gateways: (["ZG_BODY", "ZG_CHASSIS"] as const).map((zonalGatewayId, index) => ({
        zonalGatewayId,
        hostname: bases[zonalGatewayId],
        port: 0,
        logicalAddress: 0x1000 + index,
        vin,
        ecus: ecus[zonalGatewayId].map((one) => ({
          ...one,
          ...(options.banks === undefined ? {} : { banks: options.banks }),
          ...options.ecus?.[one.ecuId],
        })),
      })),
    });
    const server = await Counterpart.start({
      credentials: made.server,
      trust: made.trust,
      ...options.counterpart,
    });
    const repositories = await TestRepositories.found(vin);
    const directory = await Deno.makeTempDir({ prefix: "vmg-" });
    return new TestBench(bench, made, server, repositories, directory, options);
  }

  get log(): Logger {
    return createLogger({
      level: "debug",
      write: (line) => {
        this.lines.push(line);
        if (Deno.env.has("VMG_TEST_LOG")) console.error(line);
      },
    });
  }

  /** Starts the gateway. */
  async vmg(differs: Partial<VmgOptions> = {}): Promise<RunningVmg> {
    const running = await startVmg(this.options(differs));
    this.#running.add(running);
    return running;
  }

  options(differs: Partial<VmgOptions> = {}): VmgOptions {
    const { vehicle, trust, key } = this.identity;
    return {
      vehicle: this.vehicle,
      directory: `${this.directory}/${vin}`,
      credentials: vehicle,
      trust,
      packageKeys: [key.publicKey],
      uptane: { roots: this.repositories.roots, software, keyAlgorithm: "ecdsa-p256" },
      pool: this.pool,
      https: { hostname: "127.0.0.1", port: this.server.httpsPort },
      mqtt: { hostname: "127.0.0.1", port: this.server.mqttPort },
      log: this.log,
      ...this.#options.vmg,
      ...differs,
      link: { reconnectDelay: 20, maxReconnectDelay: 100, ...this.#options.vmg?.link, ...differs.link },
      bus: {
        connectAttempts: 2,
        retryDelay: 20,
        downFor: 200,
        gatewayRetryDelay: 50,
        maxGatewayRetryDelay: 200,
        latency: 300,
        ...differs.bus,
      },
      update: {
        retryDelay: 20,
        maxRetryDelay: 50,
        reportInterval: 20,
        rollBackPatience: 3_000,
        ...this.#options.vmg?.update,
        ...differs.update,
      },
    };
  }

  /** Ends the gateways that run. */
  async stop(): Promise<void> {
    for (const running of this.#running) await running.stop();
    this.#running.clear();
  }

  /** Ends the other end and starts it again on the same ports. */
  async restartServer(): Promise<void> {
    const { httpsPort, mqttPort } = this.server;
    await this.server.close();
    const { server, trust } = this.identity;
    this.server = await Counterpart.start({ credentials: server, trust, httpsPort, mqttPort });
    this.server.give(this.repositories);
  }

  /** Builds a package with a new image for each of the ECUs, and has both repositories direct what it holds. */
  async package(ecuIds: string[], differs: PackageDiffers = {}): Promise<TestPackage> {
    const { version = "1.2.3", size = 20_000, hwVersion = "HW-2.0", key = this.identity.key } = differs;
    const packageId = crypto.randomUUID();
    const images = new Map<string, Uint8Array>();
    const work = await Deno.makeTempDir({ prefix: "vmg-package-" });
    try {
      const parts = [];
      for (const ecuId of ecuIds) {
        const found = this.vehicle.ecus.find((one) => one.ecuId === ecuId);
        const image = differs.images?.get(ecuId) ?? new Uint8Array(randomBytes(size));
        images.set(ecuId, image);
        await Deno.writeFile(`${work}/${ecuId}`, image);
        const old = differs.bases?.get(ecuId);
        const base = old && { sha256: createHash("sha256").update(old).digest("hex"), size: old.length };
        if (old !== undefined) await Deno.writeFile(`${work}/base`, old);
        const blob = base === undefined
          ? await compressImage(`${work}/${ecuId}`, `${work}/${ecuId}.zst`, { pool: this.pool })
          : await makeImageDelta(
            { path: `${work}/base`, ...base },
            `${work}/${ecuId}`,
            `${work}/${ecuId}.zst`,
            {
              pool: this.pool,
            },
          );
        const sha256 = createHash("sha256").update(image).digest("hex");
        parts.push({
          zone: differs.zone ?? found?.zonalGatewayId ?? "ZG_BODY",
          part: {
            ecu_id: ecuId,
            ecu_type: differs.ecuType ?? found?.ecuType ?? "UNKNOWN",
            hw_version: hwVersion,
            version,
            ...differs.release === undefined ? {} : { release: differs.release },
            image: {
              image_id: crypto.randomUUID(),
              sha256,
              size: image.length,
              segments: [{ address: differs.address ?? 0x1000, length: image.length }],
            },
            blob: { path: `${work}/${ecuId}.zst`, sha256: blob.sha256, length: blob.length, base },
          },
        });
      }
      const output = `${work}/package.otap`;
      const zones = [...Map.groupBy(parts, ({ zone }) => zone)];
      const built = await buildPackage({
        package_id: packageId,
        vehicle_id: differs.vin ?? vin,
        created: "2026-11-21T10:00:00Z",
        ...differs.conditions === undefined ? {} : { conditions: differs.conditions },
        zonal_gateways: zones.map(([zonal_gateway_id, list]) => ({
          zonal_gateway_id,
          ecus: list.map(({ part }) => part),
        })),
        signingKey: key,
        output,
        pool: this.pool,
      });
      const { directed = imagesOf(built.manifest) } = differs;
      await this.repositories.direct(directed);
      return { packageId, bytes: await Deno.readFile(output), etag: built.etag, images, ecuIds, directed };
    } finally {
      await Deno.remove(work, { recursive: true });
    }
  }

  /** The command that starts an update. */
  start(made: TestPackage, updateId: string = crypto.randomUUID()): StartCommand {
    return {
      message_id: crypto.randomUUID(),
      command: "START_OTA_UPDATE",
      update_id: updateId,
      package_id: made.packageId,
      download_url: `/api/v1/ota/package/${made.packageId}`,
      target_ecus: made.ecuIds,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.server.close();
    await this.bench.close();
    await this.pool[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** START_OTA_UPDATE as it travels. */
export interface StartCommand extends Record<string, unknown> {
  message_id: string;
  update_id: string;
}

/** What a package may differ in. */
export interface PackageDiffers {
  /** What the repositories direct. @default what the package holds */
  directed?: readonly DirectedImage[];
  /** First address of each image. */
  address?: number;
  conditions?: PackageCondition[];
  /** Release counter of each image. */
  release?: number;
  version?: string;
  size?: number;
  /** @default noise of `size` bytes */
  images?: ReadonlyMap<string, Uint8Array>;
  /** What is to be a delta, and to what. @default all are whole images */
  bases?: ReadonlyMap<string, Uint8Array>;
  hwVersion?: string;
  ecuType?: string;
  zone?: string;
  vin?: string;
  key?: SigningKey;
}

/** A package for tests. */
export interface TestPackage {
  packageId: string;
  bytes: Uint8Array;
  etag: string;
  /** What each ECU must have in its memory at 0x1000 afterwards. */
  images: Map<string, Uint8Array>;
  ecuIds: string[];
  /** What the repositories were told to direct for it. */
  directed: readonly DirectedImage[];
}

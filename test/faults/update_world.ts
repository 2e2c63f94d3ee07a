// A vehicle of three ECUs - two banks and one bank on Ethernet, two banks on CAN - whose updates run in this process and
// can be killed at any write of their journal, any step, or by a loss of power in any flash operation of an ECU.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileImage } from "../../hardware/flash/format/file_image.ts";
import type { FirmwareImage } from "../../hardware/flash/image.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import type { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { SimulatedEcu } from "../../hardware/sim/ecu.ts";
import type { SimulatedEcuOptions } from "../../hardware/sim/options.ts";
import type { PackageEcu } from "../../src/contract/package.ts";
import { silentLogger } from "../../src/log.ts";
import { VehicleBus } from "../../src/vmg/bus/bus.ts";
import { StateDatabase } from "../../src/vmg/state/database.ts";
import { UpdateJournal } from "../../src/vmg/update/journal.ts";
import {
  InstallTransaction,
  needsNoPackage,
  type TransactionEnd,
  type TransactionJournal,
} from "../../src/vmg/update/transaction.ts";
import type { VehicleDescription } from "../../src/vmg/vehicle.ts";
import { canAddress, isotp, onCan, startCanBench } from "./can_bench.ts";

const vin = "KMHTEST0000000001";
const hostname = "127.0.87.1";
const seedKey = { algorithm: "xor", constant: "A5" } as const;
const memory = [{ name: "main", address: 0, size: 0x4000, sectorSize: 0x400 }];

/** Bytes of an image; it begins in the middle of a sector that the old software shares. */
const imageSize = 1_500;
const imageAddress = 0x200;

export const ecuIds = ["ECU_001", "ECU_002", "ECU_003"] as const;

/** The gateway's process is no more. */
class Killed extends Error {}

/** What happens in a run. */
export interface Faults {
  /** Each ECU's flash operation, counted from now, in which its power fails; it comes back at once. */
  powerCuts?: Partial<Record<string, readonly number[]>>;
  /** Kills the gateway right before its n-th write to the journal, or right after it. */
  killAtWrite?: { write: number; after: boolean };
  /** Kills the gateway when the n-th step of any flash begins. */
  killAtStep?: number;
  /** Has the n-th write to the journal fail, as on a full disk; the gateway goes on with what that means. */
  failWrite?: number;
  /** Cuts the power of all ECUs together with the gateway's. */
  ecusToo?: boolean;
}

/** What a run came to. */
export interface RunEnd {
  /** undefined: the gateway was killed, or its disk failed, before the end. */
  end: TransactionEnd | undefined;
  /** Journal writes and steps that were made. */
  writes: number;
  steps: number;
}

/** The vehicle. */
export class UpdateWorld implements AsyncDisposable {
  readonly bench: SimulatedBench;
  readonly directory: string;
  readonly #vehicle: VehicleDescription;
  #updates = 0;

  private constructor(bench: SimulatedBench, directory: string) {
    this.bench = bench;
    this.directory = directory;
    const [gateway] = bench.gateways;
    const { port } = bench.adapter("CAN_BODY");
    this.#vehicle = {
      vin,
      vmgId: "VMG-066",
      model: "Test",
      year: 2026,
      gateways: [{
        zonalGatewayId: gateway.zonalGatewayId,
        hostname,
        port: gateway.port,
        logicalAddress: gateway.logicalAddress,
      }],
      adapters: [{
        adapterId: "CAN_BODY",
        where: "the bench",
        openLine: (signal) => openPort(`tcp://${hostname}:${port}`, { signal }),
        settings: { bitRate: 500_000, acknowledgement: "z" },
      }],
      ecus: bench.ecus.map(({ ecuId, logicalAddress, options: { banks, can } }) => ({
        ecuId,
        ecuType: "BCM",
        zonalGatewayId: gateway.zonalGatewayId,
        logicalAddress,
        ...can === undefined ? {} : { can: { adapterId: "CAN_BODY", address: canAddress, isotp } },
        flashPlan: {
          seedKey,
          trial: banks === 2,
          releaseCounting: true,
          memory: memory.map(({ address, size, sectorSize }) => ({ address, size, sectorSize })),
          restartPoll: 2,
          restartTimeout: 2_000,
          cleanUpTimeout: 100,
          reconnectDelay: 1,
          reconnectTimeout: 500,
        },
      })),
    };
  }

  static async start(): Promise<UpdateWorld> {
    const ecu = (number: number, banks: 1 | 2): SimulatedEcuOptions => ({
      ecuId: `ECU_00${number}`,
      ecuType: "BCM",
      logicalAddress: 0x1000 + number,
      hwVersion: "H1",
      swVersion: "1.0.0",
      serialNumber: `SN-000${number}`,
      partNumber: `PN-000${number}`,
      supplier: "Zonebench",
      memory,
      banks,
      securityAccess: { seedKey },
      maxBlockLength: 514,
      factoryImageSize: 600,
      flash: { releaseCounting: true },
    });
    const bench = await startCanBench(hostname, vin, [ecu(1, 2), ecu(2, 1), onCan(ecu(3, 2))]);
    return new UpdateWorld(bench, await Deno.makeTempDir({ prefix: "transaction-" }));
  }

  /** Begins an update to `version`. */
  begin(version: string, release: number): Update {
    return { updateId: `update-${++this.#updates}`, version, release };
  }

  /** Runs the update, or goes on with it, as a gateway that starts does. */
  async run(update: Update, faults: Faults = {}): Promise<RunEnd> {
    const { updateId, version, release } = update;
    const state = StateDatabase.open(this.directory);
    const bus = new VehicleBus(
      this.#vehicle,
      {
        connectAttempts: 3,
        retryDelay: 5,
        downFor: 5,
        gatewayRetryDelay: 5,
        adapterRetryDelay: 5,
        latency: 150,
      },
      silentLogger,
    );
    const stop = new AbortController();
    const ecus = [...this.bench.ecus];
    const count = { writes: 0, steps: 0 };
    let killed = false;
    const kill = () => {
      killed = true;
      // Nothing of it reaches an ECU any more.
      void bus.close();
      stop.abort(new Killed());
      if (faults.ecusToo) { for (const ecu of ecus) ecu.powerOff(); }
    };
    const real = new UpdateJournal(state);
    const guarded = <A extends unknown[], T>(write: (...args: A) => T) => (...args: A): T => {
      if (killed) throw new Killed();
      count.writes++;
      const { killAtWrite, failWrite } = faults;
      if (failWrite === count.writes) throw new Error("database or disk is full");
      if (killAtWrite?.write !== count.writes) return write(...args);
      if (killAtWrite.after) write(...args);
      kill();
      throw new Killed();
    };
    const journal: TransactionJournal = {
      get: (id) => real.get(id),
      ecus: (id) => real.ecus(id),
      setEcu: guarded((id, ecu, phase) => real.setEcu(id, ecu, phase)),
      setPhase: guarded((id, phase, end) => real.setPhase(id, phase, end)),
      setBackup: guarded((id, ecuId, saved) => real.setBackup(id, ecuId, saved)),
      beginInstall: guarded((id, plans) => real.beginInstall(id, plans)),
    };
    real.add({ updateId, packageId: "package", downloadUrl: "/package", targetEcus: ecuIds });
    const cutting = this.#cutPower(faults.powerCuts ?? {});
    let end: TransactionEnd | undefined;
    try {
      const targets = await Promise.all(this.#vehicle.ecus.map(async (ecu) => ({
        ecu,
        entry: await entryOf(ecu.ecuId, version, release),
      })));
      // The gateway makes the images first: what goes wrong there ends the update, or rolls it back.
      const images = new Map<string, FirmwareImage>();
      let failure: unknown;
      const phase = real.get(updateId)?.phase ?? null;
      try {
        for (const { entry } of needsNoPackage(phase) ? [] : targets) {
          images.set(entry.ecu_id, await extract(entry, `${this.directory}/${entry.ecu_id}.bin`));
        }
      } catch (error) {
        failure = error;
      }
      const transaction = new InstallTransaction({
        updateId,
        journal,
        bus,
        installation: {
          image: ({ ecu_id }) => {
            const image = images.get(ecu_id);
            assert.ok(image !== undefined);
            return image;
          },
          targets,
          found: new Map(ecus.map(({ ecuId, version }) => [ecuId, { swVersion: version }])),
        },
        backups: `${this.directory}/backups`,
        fingerprint: Uint8Array.of(1),
        settings: {
          parallelFlash: 2,
          confirmTimeout: 5_000,
          rollBackPatience: 5_000,
          retryDelay: 2,
          maxRetryDelay: 20,
        },
        conditions: () => Promise.resolve(),
        onFailure: () => {},
        onEcu: () => {},
        onStep: (_ecuId, _step, done) => {
          if (done === 0 && ++count.steps === faults.killAtStep) kill();
        },
        cancel: new AbortController().signal,
        stop: stop.signal,
        log: silentLogger,
      });
      if (failure === undefined) end = await transaction.run();
      else if (phase !== null) end = await transaction.rollBack(failure);
      else end = { status: "failed", error: String(failure) };
      real.finish(updateId, end.status, end.error);
    } catch (error) {
      if (!killed && faults.failWrite === undefined) throw error;
    } finally {
      cutting.end();
      await bus.close();
      state.close();
    }
    for (const ecu of ecus) await ecu.powerOn();
    return { end, ...count };
  }

  /** Runs until the update has an end, whatever the first run met. */
  async finish(update: Update, faults: Faults): Promise<{ end: TransactionEnd; first: RunEnd }> {
    const first = await this.run(update, faults);
    if (first.end !== undefined) return { end: first.end, first };
    const { end } = await this.run(update);
    assert.ok(end !== undefined, "a run without faults has an end");
    return { end, first };
  }

  /** Power fails where it is asked for, and is back at once. */
  #cutPower(cuts: Partial<Record<string, readonly number[]>>): { end(): void } {
    const armed = new Map<SimulatedEcu, number[]>();
    for (const ecu of this.bench.ecus) {
      const [next, ...rest] = cuts[ecu.ecuId] ?? [];
      if (next === undefined) continue;
      ecu.inject({ kind: "power_cut", operation: next });
      armed.set(ecu, rest);
    }
    if (armed.size === 0) return { end: () => {} };
    const timer = setInterval(() => {
      for (const [ecu, rest] of armed) {
        if (ecu.state !== "off") continue;
        void ecu.powerOn();
        const next = rest.shift();
        if (next !== undefined) ecu.inject({ kind: "power_cut", operation: next });
      }
    }, 1);
    return {
      end: () => {
        clearInterval(timer);
        for (const ecu of armed.keys()) ecu.clearFaults();
      },
    };
  }

  /** Each ECU runs `version`, and its memory is that version's; also after its power was off. */
  async assertRuns(version: string, where: string): Promise<void> {
    for (const ecu of this.bench.ecus) {
      ecu.powerOff();
      await ecu.powerOn();
      assert.equal(ecu.version ?? ecu.state, version, `${where}: ${ecu.ecuId}`);
      if (version === "1.0.0") continue;
      assert.deepEqual(
        ecu.readMemory(imageAddress, imageSize),
        imageOf(ecu.ecuId, version),
        `${where}: memory of ${ecu.ecuId}`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** An update under way. */
export interface Update {
  readonly updateId: string;
  readonly version: string;
  readonly release: number;
}

/** Bytes that no other ECU and version has. */
function imageOf(ecuId: string, version: string): Uint8Array {
  const bytes = new Uint8Array(imageSize);
  for (let at = 0; at < imageSize; at += 32) {
    bytes.set(
      createHash("sha256").update(`${ecuId} ${version} ${at}`).digest().subarray(0, imageSize - at),
      at,
    );
  }
  return bytes;
}

async function entryOf(ecuId: string, version: string, release: number): Promise<PackageEcu> {
  const bytes = imageOf(ecuId, version);
  const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())).toHex();
  return {
    ecu_id: ecuId,
    ecu_type: "BCM",
    hw_version: "H1",
    version,
    release,
    image: {
      image_id: "00000000-0000-4000-8000-000000000000",
      sha256,
      size: imageSize,
      segments: [{ address: imageAddress, length: imageSize }],
    },
    blob: { encoding: "zstd", offset: 0, length: 1, sha256, table_sha256: sha256 },
  };
}

async function extract({ ecu_id, version, image }: PackageEcu, output: string): Promise<FirmwareImage> {
  const bytes = imageOf(ecu_id, version);
  {
    using file = await Deno.open(`${output}.part`, { write: true, create: true, truncate: true });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  }
  await Deno.rename(`${output}.part`, output);
  return fileImage(output, image.segments, Uint8Array.fromHex(image.sha256));
}

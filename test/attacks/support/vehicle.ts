// A vehicle under attack: simulated ECUs with keys of their own behind two zonal gateways, the real gateway, and the man in the
// middle on its way to the real server; and what must hold of it when an attack was refused.

import assert from "node:assert/strict";
import { join } from "node:path";
import { SimulatedBench } from "../../../hardware/sim/bench.ts";
import { defaultSecurity } from "../../../hardware/sim/ecu_defaults.ts";
import { versionReportRoutine } from "../../../hardware/flash/version_report.ts";
import { RestClient } from "../../../src/contract/client.ts";
import { isFinal, updateStatus } from "../../../src/contract/ota.ts";
import { routes } from "../../../src/contract/routes.ts";
import { createLogger } from "../../../src/log.ts";
import type { LoadedCredentials } from "../../../src/pqc/pki_directory.ts";
import { type HttpsAgent, httpsAgent } from "../../../src/tls/https_agent.ts";
import { type CheckCode, checks, citation } from "../../../src/uptane/checks.ts";
import type { CatalogueImage } from "../../../src/uptane/image_target.ts";
import { importSigner, type LocalSigner } from "../../../src/uptane/keys.ts";
import {
  primaryKey,
  type RunningVmg,
  startVmg,
  type VehicleDescription,
  type VmgOptions,
} from "../../../src/vmg/mod.ts";
import type { Limits } from "../../../src/uptane/store.ts";
import { eventually } from "../../server/running_server.ts";
import { imageAddress, type Lab } from "./lab.ts";
import { ManInTheMiddle } from "./man_in_the_middle.ts";

export const hwVersion = "HW-2.0";

/** Bytes that are read back of each ECU. */
const compared = 6_000;

/** Longest wait for anything that must come, ms. */
const patience = 60_000;

/** What differs of a vehicle. */
export interface VehicleOptions {
  vmg?: Omit<Partial<VmgOptions>, "uptane">;
  /** Bounds of metadata. */
  limits?: Partial<Limits>;
  /** Ports in place of those of the man in the middle. */
  ports?: { https: number; mqtt: number };
}

/** How an update ended, as the server shows it. */
export interface Outcome {
  updateId: string;
  status: string;
  error: string;
}

/** An image of the catalogue with its bytes. */
export interface Release extends CatalogueImage {
  readonly bytes: Uint8Array;
}

export class AttackedVehicle implements AsyncDisposable {
  readonly lines: string[] = [];
  #vmg: RunningVmg | undefined;

  private constructor(
    readonly lab: Lab,
    readonly vin: string,
    readonly vmgId: string,
    /** By ECU. */
    readonly types: Readonly<Record<string, string>>,
    readonly bench: SimulatedBench,
    readonly directory: string,
    readonly credentials: LoadedCredentials,
    readonly agent: HttpsAgent,
    readonly middle: ManInTheMiddle,
    readonly options: VehicleOptions,
  ) {}

  /** Starts one whose ECUs' keys are in the server's inventory, and waits until its report is verified. */
  static async start(lab: Lab, options: VehicleOptions = {}): Promise<AttackedVehicle> {
    const number = lab.next();
    const digits = String(number).padStart(6, "0");
    const vin = `KMHTEST2ATK${digits}`;
    const types = { ECU_001: `BODY_${number}`, ECU_002: `BRAKE_${number}` };
    const directory = await Deno.makeTempDir({ prefix: "attacked-vehicle-" });
    const bench = await SimulatedBench.start({
      timing: "none",
      directory: join(directory, "bench"),
      gateways: Object.entries(types).map(([ecuId, ecuType], index) => ({
        zonalGatewayId: `ZG_00${index + 1}`,
        hostname: lab.hostname,
        port: 0,
        logicalAddress: 0x1000 + index,
        vin,
        ecus: [{
          ecuId,
          ecuType,
          logicalAddress: 0x1100 + index,
          hwVersion,
          swVersion: "1.0.0",
          serialNumber: `SN-${digits}`,
          partNumber: `PN-${digits}`,
          supplier: "ACME",
          memory: [{ name: "main", address: 0, size: 64 * 1024 }],
          factoryImageSize: 4_096,
          versionReport: {},
        }],
      })),
    });
    const credentials = await lab.vehicleCredentials(vin);
    const agent = httpsAgent({ credentials, trust: credentials.trust });
    const { https, mqtt } = lab.server.server;
    const middle = await ManInTheMiddle.start({
      hostname: lab.hostname,
      vin,
      server: await lab.serverCredentials(),
      vehicle: credentials,
      trust: credentials.trust,
      https: () => https.port,
      mqtt: () => mqtt.port,
    });
    const vehicle = new AttackedVehicle(
      lab,
      vin,
      `VMG-${digits}`,
      types,
      bench,
      directory,
      credentials,
      agent,
      middle,
      options,
    );
    await vehicle.#enter();
    await vehicle.begin();
    await vehicle.verified();
    return vehicle;
  }

  /** The vehicle's calls to the server, past the man in the middle, with its TLS key. */
  get rest(): RestClient {
    return new RestClient({ origin: this.lab.server.origin, dispatcher: this.agent });
  }

  /** Folder of the gateway. */
  get state(): string {
    return join(this.directory, this.vin);
  }

  /** The gateway's key. */
  primary(): Promise<LocalSigner> {
    return primaryKey(this.state, "ecdsa-p256");
  }

  /** The key of an ECU's reports. */
  async ecuKey(ecuId: string): Promise<LocalSigner> {
    await this.bench.ecu(ecuId).reportPublicKey();
    return await importSigner(await Deno.readTextFile(join(this.directory, "bench", "keys", `${ecuId}.key`)));
  }

  /** Starts the gateway. */
  async begin(): Promise<void> {
    const { lab, credentials, middle, options: { vmg = {}, limits, ports } } = this;
    const { certificateChain, privateKey, trust } = credentials;
    const root = async (name: "director" | "image") => {
      const bytes = await lab.repositories.read(name, "1.root.json");
      assert.ok(bytes !== undefined);
      return bytes;
    };
    this.#vmg = await startVmg({
      vehicle: this.#description(),
      directory: this.state,
      credentials: { certificateChain, privateKey },
      trust,
      packageKeys: [(await lab.packageKey()).publicKey],
      pool: lab.pool,
      https: { hostname: lab.hostname, port: ports?.https ?? middle.httpsPort },
      mqtt: { hostname: lab.hostname, port: ports?.mqtt ?? middle.mqttPort },
      log: createLogger({
        level: "debug",
        color: false,
        write: (line) => {
          this.lines.push(line);
          if (Deno.env.has("VMG_TEST_LOG")) console.error(line);
        },
      }),
      ...vmg,
      uptane: {
        roots: { director: await root("director"), image: await root("image") },
        software: { filename: "zonebench/gateway/0.1.0", length: 1, sha256: "00".repeat(32) },
        keyAlgorithm: "ecdsa-p256",
        limits,
      },
      link: { reconnectDelay: 20, maxReconnectDelay: 100, ...vmg.link },
      update: {
        downloadPatience: 1_000,
        retryDelay: 20,
        maxRetryDelay: 50,
        reportInterval: 20,
        rollBackPatience: 3_000,
        ...vmg.update,
      },
    });
  }

  /** Ends the gateway. */
  async end(): Promise<void> {
    await this.#vmg?.stop();
    this.#vmg = undefined;
  }

  #description(): VehicleDescription {
    return {
      vin: this.vin,
      vmgId: this.vmgId,
      model: "Test",
      year: 2026,
      adapters: [],
      gateways: this.bench.gateways.map(({ zonalGatewayId, hostname, port, logicalAddress }) => ({
        zonalGatewayId,
        hostname,
        port,
        logicalAddress,
      })),
      ecus: this.bench.gateways.flatMap(({ zonalGatewayId, ecus }) =>
        ecus.map(({ ecuId, logicalAddress, options: { ecuType, memory = [] } }) => ({
          ecuId,
          ecuType,
          zonalGatewayId,
          logicalAddress,
          versionReport: { routine: versionReportRoutine },
          flashPlan: {
            seedKey: defaultSecurity(ecuType).seedKey,
            trial: true,
            memory: memory.map(({ address, size, sectorSize = 16_384 }) => ({ address, size, sectorSize })),
          },
        }))
      ),
    };
  }

  /** Enters the keys of gateway and ECUs into the server's inventory. */
  async #enter(): Promise<void> {
    const { operator } = this.lab.server;
    const enter = (ecu_id: string, primary: boolean, { key }: LocalSigner) =>
      operator.rest.call(routes.addToInventory, {
        body: { vin: this.vin, ecu_id, primary, keys: [key.keyval.public] },
      });
    await enter(this.vmgId, true, await this.primary());
    for (const { ecuId } of this.bench.ecus) await enter(ecuId, false, await this.ecuKey(ecuId));
  }

  /** Waits until the server has a verified report, of these versions where some are given. */
  async verified(versions: Readonly<Record<string, string>> = {}): Promise<void> {
    await eventually("a verified report", async () => {
      const shown = await this.shown();
      return shown?.verified && shown.vci !== null &&
        Object.entries(versions).every(([ecuId, version]) =>
          shown.vci?.ecus.some((ecu) => ecu.ecu_id === ecuId && ecu.sw_version === version)
        );
    }, patience);
  }

  /** The vehicle as the server shows it; undefined before it is registered. */
  async shown() {
    try {
      return await this.lab.server.operator.rest.call(routes.getVehicle, { path: { vin: this.vin } });
    } catch {
      return undefined;
    }
  }

  /** What the server shows of refused attacks, newest first. */
  async attacks(): Promise<{ code: string; message: string }[]> {
    const { anomalies } = await this.lab.server.operator.rest.call(routes.listAnomalies, {
      path: { vin: this.vin },
      query: {},
    });
    return anomalies.filter(({ rule }) => rule === "attack")
      .map(({ metric, message }) => ({ code: metric, message }));
  }

  /** Releases new software for both ECUs, 1.{minor}.0. */
  async release(
    minor: number,
    { releaseCounter = minor, ecuIds = ["ECU_001", "ECU_002"], size = 3_000 }: {
      releaseCounter?: number;
      ecuIds?: readonly string[];
      size?: number;
    } = {},
  ): Promise<Record<string, Release>> {
    const released: Record<string, Release> = {};
    for (const ecuId of ecuIds) {
      const bytes = crypto.getRandomValues(new Uint8Array(size));
      const name = { ecuType: this.types[ecuId], hwVersion, version: `1.${minor}.0`, releaseCounter };
      released[ecuId] = { ...await this.lab.publish(name, bytes), bytes };
    }
    return released;
  }

  /** Has the operator start an update. @returns its id */
  async start(ecuIds?: readonly string[]): Promise<string> {
    const { update_id } = await this.lab.server.operator.rest.call(routes.startUpdate, {
      body: { vin: this.vin, ...ecuIds === undefined ? {} : { target_ecus: [...ecuIds] } },
    });
    return update_id;
  }

  /** How an update is, as the server shows it. */
  async look(updateId: string): Promise<Outcome> {
    const { status, error } = await this.lab.server.operator.rest.call(routes.getUpdate, {
      path: { id: updateId },
    });
    return { updateId, status, error: error ?? "" };
  }

  /** Waits for an update's end. */
  async ended(updateId: string): Promise<Outcome> {
    return await eventually(`update ${updateId} has an end`, async () => {
      const update = await this.look(updateId);
      return isFinal(updateStatus.parse(update.status)) && update;
    }, patience);
  }

  /** Has the operator start an update, and waits for its end. */
  async update(ecuIds?: readonly string[]): Promise<Outcome> {
    return await this.ended(await this.start(ecuIds));
  }

  /** Updates to what was released, and waits for the report of it. */
  async updated(released: Readonly<Record<string, Release>>): Promise<void> {
    const { status, error } = await this.update(Object.keys(released));
    assert.equal(status, "completed", error);
    this.assertRuns(released);
    await this.verified(
      Object.fromEntries(Object.entries(released).map(([ecuId, { version }]) => [ecuId, version])),
    );
  }

  /** Version and memory of each ECU, read back from it. */
  running(): Record<string, { version: string | undefined; memory: Uint8Array }> {
    return Object.fromEntries(
      this.bench.ecus.map((ecu) => [ecu.ecuId, {
        version: ecu.version,
        memory: ecu.readMemory(imageAddress, compared),
      }]),
    );
  }

  /** The ECUs run these images. */
  assertRuns(images: Readonly<Record<string, { version: string; bytes: Uint8Array }>>): void {
    for (const [ecuId, { version, bytes }] of Object.entries(images)) {
      const ecu = this.bench.ecu(ecuId);
      assert.equal(ecu.version, version, ecuId);
      assert.deepEqual(ecu.readMemory(imageAddress, bytes.length), bytes, ecuId);
    }
  }

  /**
   * An update under attack ends refused by this check: the server shows it, the vehicle's log names attack and clause, the next
   * report tells of it, and the ECUs run what they ran, untouched.
   *
   * @param update @default the operator starts one for both ECUs
   * @param shown Where the vehicle's report is refused as well: by which check
   */
  async assertRefused(
    code: CheckCode,
    attack: string,
    update: () => Promise<Outcome> = () => this.update(),
    shown: CheckCode = code,
  ): Promise<Outcome> {
    const before = this.running();
    const operations = this.bench.ecus.map(({ flashOperations }) => flashOperations);
    const count = (found: { code: string }[]) => found.filter((it) => it.code === shown).length;
    const told = count(await this.attacks());
    const at = this.lines.length;
    const outcome = await update();
    assert.equal(outcome.status, "failed", outcome.error);
    assert.match(outcome.error, new RegExp(`^metadata: ${code}: `));
    assert.deepEqual(this.running(), before);
    assert.deepEqual(this.bench.ecus.map(({ flashOperations }) => flashOperations), operations);
    this.#assertLogged(code, attack, at);
    await eventually(`the server shows ${shown}`, async () => count(await this.attacks()) > told, patience);
    if (shown === code) {
      const [{ message }] = (await this.attacks()).filter((it) => it.code === code);
      assert.equal(message, `${this.vmgId} refused what it was given: ${code} (${attack})`);
    }
    return outcome;
  }

  /** The gateway's log, and the server by the next report, tell of a refusal. */
  async tells(code: CheckCode, attack: string): Promise<void> {
    this.#assertLogged(code, attack, 0);
    await eventually(
      `the server shows ${code}`,
      async () => (await this.attacks()).some((it) => it.code === code),
      patience,
    );
  }

  #assertLogged(code: CheckCode, attack: string, from: number): void {
    const line = this.lines.slice(from).find((it) => it.includes("Refused as ") && it.includes(` ${code}: `));
    assert.ok(line?.includes(`Refused as ${attack} (${citation(checks[code].clause)}): `), String(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await this.agent.destroy();
    await this.middle[Symbol.asyncDispose]();
    await this.bench.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}

// The story that the demo tells: catalogue, update over DoIP and CAN with an address that changes in the middle, diagnosis
// and fault memory. Each step runs the command that does it, and then looks for itself whether it is so.

import { discover } from "../../hardware/doip/discover.ts";
import { readMemory } from "../../hardware/flash/read_memory.ts";
import type { UdsClient } from "../../hardware/uds/client.ts";
import { formatDtc } from "../../hardware/uds/dtc.ts";
import { Did } from "../../hardware/uds/services.ts";
import { UdsTimeoutError } from "../../hardware/uds/transport.ts";
import type { Config } from "../config/schema.ts";
import type { RestClient } from "../contract/client.ts";
import { isFinal } from "../contract/ota.ts";
import { routes } from "../contract/routes.ts";
import type { RunningVmg } from "../vmg/mod.ts";
import { delay } from "../wait.ts";
import { findEcu, withEcu } from "./bench_access.ts";
import { placeGateways } from "./bench_description.ts";
import type { MovingNetwork } from "./demo_network.ts";
import type { Stage } from "./demo_stage.ts";
import type { BenchWiring } from "./gateway_links.ts";
import { formatSize } from "./output.ts";

/** What the story is about. */
export interface DemoWorld {
  stage: Stage;
  config: Config;
  wiring: BenchWiring;
  rest: RestClient;
  vmg: RunningVmg;
  network: MovingNetwork;
  /** Where the vehicle goes from its first address. */
  addresses: readonly [string, string];
  images: readonly DemoImage[];
  /** How long the vehicle is out of reach, ms. */
  away: number;
  signal: AbortSignal;
}

/** A firmware file of the demo, with the ECU that it is for. */
export interface DemoImage {
  ecuId: string;
  ecuType: string;
  /** How it is reached, for people. */
  path: string;
  file: string;
  bytes: Uint8Array;
}

/** How many steps {@link tellStory} has. */
export const storySteps = 7;

/** Version of the images; the ECUs of the bench run 1.0.0. */
const newVersion = "1.1.0";

/** The ECU that is asked over DoIP, and the one with trouble codes. */
const asked = "ECU_003";
const troubled = { ecuId: "ECU_001", code: 0x056216, shown: "P0562-16" } as const;

/** Status bit 3, ISO 14229-1 Annex D.2. */
const confirmedDtc = 0x08;

/** Longest wait for what takes moments, ms. */
const limit = 30_000;

/** Tells it. @throws {NotAsShown} when something is not as it should be */
export async function tellStory(world: DemoWorld): Promise<void> {
  const { vin } = world.config.bench.vehicles[0];
  await theBench(world, vin);
  await theCatalogue(world, vin);
  const updateId = await theUpdateBegins(world, vin);
  await theMove(world, vin, updateId);
  await theUpdateEnds(world, vin, updateId);
  await theDiagnosis(world, vin);
  await theFaultMemory(world);
}

async function theBench({ stage, config, rest, vmg, signal }: DemoWorld, vin: string): Promise<void> {
  await stage.begin(
    "The bench",
    "Three zonal gateways answer over DoIP, two ECUs stand behind a CAN adapter.\n" +
      "The vehicle has told the server over post-quantum TLS which software its ECUs run.",
  );
  await stage.command("discover");
  const placed = placeGateways(config.bench);
  const targets = placed.flatMap(({ hostname, port }) => hostname === undefined ? [] : [{ hostname, port }]);
  const found = await discover({ targets, timeout: 5_000, enough: placed.length, signal });
  stage.check(found.length === placed.length, `${placed.length} gateways answer`, `${found.length}`);
  await stage.command("vci", vin);
  const { links, vci } = await rest.call(routes.getVehicle, { path: { vin } });
  const groups = new Set(links.map(({ group }) => group));
  stage.check(
    links.length > 0 && [...groups].every((group) => group.includes("MLKEM")),
    `its links were negotiated with ${[...groups].join(", ")}`,
    [...groups].join(", ") || "no link",
  );
  const versions = vci?.ecus.map(({ sw_version }) => sw_version) ?? [];
  stage.check(
    vmg.link.connected && versions.length === 8 && versions.every((it) => it === "1.0.0"),
    "8 ECUs are reported, all on 1.0.0",
    versions.join(", "),
  );
}

async function theCatalogue({ stage, rest, images }: DemoWorld, vin: string): Promise<void> {
  await stage.begin(
    "The catalogue",
    "Two images for the server: one for an ECU on DoIP, one for an ECU on CAN.\n" +
      "The demo made the files; Intel HEX, S-record and VBF are taken as well.",
  );
  for (const { file, ecuType } of images) {
    const base = ["--base-address", "0x0", "--ecu-type", ecuType, "--hardware", "1.0"];
    await stage.command("firmware", "add", file, ...base, "--version", newVersion);
  }
  const { outdated_ecus } = await rest.call(routes.getVehicle, { path: { vin } });
  const outdated = outdated_ecus.map(({ ecu_id }) => ecu_id).sort();
  stage.check(
    outdated.join() === images.map(({ ecuId }) => ecuId).sort().join(),
    `the server knows by itself which ECUs are outdated: ${outdated.join(" and ")}`,
    outdated.join() || "none",
  );
}

async function theUpdateBegins({ stage, rest, vmg, signal }: DemoWorld, vin: string): Promise<string> {
  await stage.begin(
    "The update begins",
    "One signed package for both ECUs; the vehicle hears of it over MQTT, downloads it over HTTPS,\n" +
      "verifies signature and hashes, and starts to flash.",
  );
  await stage.command("update", "start", "--vin", vin);
  const { updates } = await rest.call(routes.listUpdates, { query: { limit: 1, vin } });
  const { update_id } = updates[0];
  await until("the vehicle flashes", () => vmg.installing, signal);
  stage.check(vmg.installing, "the vehicle has verified the package and flashes");
  return update_id;
}

async function theMove(world: DemoWorld, vin: string, updateId: string): Promise<void> {
  const { stage, rest, vmg, network, addresses: [from, to], away, signal } = world;
  await stage.begin(
    "The vehicle moves",
    "In the middle of it the vehicle loses its address and comes back from another one. On one machine\n" +
      "these are two loopback addresses that its connections are bound to; what notices the loss, ends\n" +
      "the old connections and comes back is the gateway as it runs in a vehicle.",
  );
  stage.check(vmg.link.localAddress === from, `it is connected from ${from}`, `${vmg.link.localAddress}`);
  const before = vmg.link;
  network.leave();
  await until("the gateway has noticed", () => !vmg.link.connected, signal);
  stage.check(vmg.installing, `the address ${from} is gone, the link is down, and flashing goes on`);
  stage.say(`Somebody asks ${asked} for its VIN meanwhile: the server keeps the question.`);
  const question = stage.command("diag", asked, "0x22", "F190", "--via-server");
  // It is looked at below; until then it may fail without being missed.
  question.catch(() => {});
  await delay(away, signal);
  stage.check(!vmg.link.connected, `${(away / 1000).toFixed(1)} s later it is still away`);
  network.enter(to);
  const began = performance.now();
  await until("it is back", () => vmg.link.localAddress === to, signal);
  const took = Math.round(performance.now() - began);
  stage.check(
    vmg.link.addressChanges === before.addressChanges + 1 &&
      vmg.link.reconnections === before.reconnections + 1,
    `it is back from ${to} after ${took} ms, by one reconnection`,
    `${vmg.link.addressChanges} changes, ${vmg.link.reconnections} reconnections`,
  );
  await question;
  stage.check(true, "the question that was asked meanwhile is answered");
  const detail = await untilSome("the server knows the new address", async () => {
    const it = await rest.call(routes.getVehicle, { path: { vin } });
    return it.current_ip === to ? it : undefined;
  }, signal);
  stage.check(
    [from, to].every((address) => detail.addresses.some(({ ip }) => ip === address)),
    `the server has seen it at ${from} and at ${to}`,
  );
  const { status } = await rest.call(routes.getUpdate, { path: { id: updateId } });
  stage.check(
    !isFinal(status) || status === "completed",
    "the update was not disturbed",
    status,
  );
  await stage.command("link", "status");
}

async function theUpdateEnds(world: DemoWorld, vin: string, updateId: string): Promise<void> {
  const { stage, rest, images, signal } = world;
  await stage.begin(
    "The update completes",
    "All ECUs or none: each image is checked in the ECU, started on trial, and confirmed.",
  );
  await stage.command("update", "watch", updateId);
  const update = await rest.call(routes.getUpdate, { path: { id: updateId } });
  stage.check(
    update.status === "completed" && update.ecus.every(({ status }) => status === "completed"),
    "the server has it as completed, with every ECU",
    update.status,
  );
  await until("the vehicle has reported", async () => {
    const { outdated_ecus } = await rest.call(routes.getVehicle, { path: { vin } });
    return outdated_ecus.length === 0;
  }, signal);
  stage.check(true, "the vehicle has reported the new versions: nothing is outdated");
  await reportsEnd(world, vin);
  for (const { ecuId, path, bytes } of images) {
    // A CAN bus would take as long again for the whole of it.
    const length = Math.min(bytes.length, 16_384);
    const { version, same } = await overTheBus(world, ecuId, async (client) => {
      const version = new TextDecoder().decode(await client.readDataByIdentifier(Did.ecuSoftwareVersion));
      let same = true;
      for await (const { address, data } of readMemory(client, [{ address: 0, length }], { signal })) {
        same &&= data.every((byte, at) => byte === bytes[address + at]);
      }
      return { version, same };
    });
    stage.check(
      version.startsWith(newVersion),
      `${ecuId}, asked over ${path}, runs ${newVersion}`,
      version,
    );
    stage.check(same, `the first ${formatSize(length)} of its memory are those of the file`);
  }
}

/** Waits, for some seconds at most, until the vehicle's report on the server's demand is in: on CAN two who ask at once disturb each other. */
async function reportsEnd({ rest, signal }: DemoWorld, vin: string): Promise<void> {
  const end = performance.now() + 5_000;
  while (performance.now() < end) {
    const { vci } = await rest.call(routes.getVehicle, { path: { vin } });
    if (vci?.trigger === "command") return;
    await delay(100, signal);
  }
}

async function theDiagnosis(world: DemoWorld, vin: string): Promise<void> {
  const { stage, rest } = world;
  await stage.begin(
    "Diagnosis",
    "The same question twice: straight over the bus, and through server, MQTT and the vehicle's gateway.",
  );
  await stage.command("diag", asked, "0x22", "F190");
  const answer = new TextDecoder().decode(
    await overTheBus(world, asked, (client) => client.readDataByIdentifier(Did.vin)),
  );
  stage.check(answer === vin, `${asked} says that its VIN is ${vin}`, answer);
  await stage.command("diag", asked, "0x22", "F190", "--via-server");
  const { results } = await rest.call(routes.listDiagnostics, { query: { limit: 1, vin } });
  const expected = `62F190${new TextEncoder().encode(vin).toHex().toUpperCase()}`;
  stage.check(
    results[0]?.response_data === expected,
    "through the server came the same bytes, and they are stored",
    results[0]?.response_data ?? "nothing",
  );
}

async function theFaultMemory(world: DemoWorld): Promise<void> {
  const { stage } = world;
  const { ecuId, code, shown } = troubled;
  await stage.begin(
    "Fault memory",
    "Trouble codes with what was stored when they occurred; one is cleared, the other stays.",
  );
  await stage.command("dtc", ecuId, "--snapshot");
  const confirmed = () =>
    overTheBus(world, ecuId, async (client) => {
      const { dtcs } = await client.dtc.byStatusMask(confirmedDtc);
      return dtcs.map(({ code }) => code);
    });
  const before = await confirmed();
  stage.check(before.includes(code), `${ecuId} has ${before.length} confirmed codes, ${shown} among them`);
  await stage.command("dtc", ecuId, "--clear", shown);
  await stage.command("dtc", ecuId, "--status", "confirmedDtc");
  const after = await confirmed();
  stage.check(
    !after.includes(code) && after.length === before.length - 1,
    `${shown} is confirmed no longer, ${after.length} left`,
    after.map((it) => formatDtc(it)).join(" "),
  );
}

/**
 * Asks an ECU on a way of the demo's own. The vehicle's gateway may be asking it as well: on CAN one answer can then be taken
 * for the other's, and the question is put again.
 */
async function overTheBus<T>(
  { config, wiring, signal }: DemoWorld,
  ecuId: string,
  ask: (client: UdsClient) => Promise<T>,
): Promise<T> {
  const ended = AbortSignal.any([signal, AbortSignal.timeout(limit)]);
  for (let tries = 1;; tries++) {
    try {
      return await withEcu(wiring, findEcu(config.bench, ecuId), ended, ask);
    } catch (error) {
      if (!(error instanceof UdsTimeoutError) || tries === 3) throw error;
    }
  }
}

/** Waits until something holds. @throws {Error} when it does not in time */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  await untilSome(what, async () => await holds() || undefined, signal);
}

async function untilSome<T>(
  what: string,
  look: () => Promise<T | undefined>,
  signal: AbortSignal,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`waited ${limit / 1000} s in vain until ${what}`);
    await delay(20, signal);
  }
}

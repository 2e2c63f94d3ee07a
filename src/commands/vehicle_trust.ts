// What a vehicle's gateway is given so that it can verify signed metadata, and which keys the server is told of for the vehicles
// that this program knows.

import { join } from "node:path";
import type { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { Config } from "../config/schema.ts";
import type { InventoryEntry } from "../contract/uptane.ts";
import { readIfPresent } from "../pqc/files.ts";
import { type RepositoryName, repositoryNames } from "../uptane/models.ts";
import { primaryKey, type UptaneOptions } from "../vmg/mod.ts";
import { versionReportOf } from "./bench_description.ts";
import type { DataFolders } from "./common.ts";
import { CommandFailed } from "./output.ts";
import { programImage } from "./program_image.ts";
import { repositoryFolder } from "./uptane.ts";

/** The gateway's options. @throws {CommandFailed} naming the files that are missing */
export async function vehicleUptane(config: Config, folders: DataFolders): Promise<UptaneOptions> {
  return {
    roots: await firstRoots(config, folders),
    software: await programImage(),
    keyAlgorithm: config.vmg.uptane.key,
  };
}

async function firstRoots(
  config: Config,
  folders: DataFolders,
): Promise<Record<RepositoryName, Uint8Array>> {
  const { director_root, image_root } = config.vmg.uptane;
  const own = { director: director_root, image: image_root };
  const paths = Object.fromEntries(
    repositoryNames.map((name) => [
      name,
      own[name] === "" ? join(repositoryFolder(config, folders), name, "1.root.json") : own[name],
    ]),
  );
  const found = new Map<string, Uint8Array>();
  for (const name of repositoryNames) {
    try {
      found.set(name, await Deno.readFile(paths[name]));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  const [director, image] = repositoryNames.map((name) => found.get(name));
  if (director !== undefined && image !== undefined) return { director, image };
  const missing = repositoryNames.filter((name) => !found.has(name)).map((name) => paths[name]);
  throw new CommandFailed(
    `${
      missing.join(" and ")
    }: not there. A vehicle is given the first root of each repository when it is made: copy them from ` +
      "where the server runs (data/repo/director/1.root.json and data/repo/image/1.root.json), or say where they are with " +
      "vmg.uptane.director_root and vmg.uptane.image_root",
  );
}

/**
 * Keys of all ECUs of those of the bench's vehicles whose keys lie here.
 *
 * @param bench The simulated one, if it is in this program.
 * @param gateways Whether the vehicles' gateways are in this program: their keys are made then.
 */
export async function knownKeys(
  config: Config,
  folders: DataFolders,
  bench: SimulatedBench | undefined,
  gateways: boolean,
): Promise<InventoryEntry[]> {
  const entries: InventoryEntry[] = [];
  for (const { vin, vmg_id, gateways: zones } of config.bench.vehicles) {
    const directory = join(folders.vmg, vin);
    const primary = gateways
      ? (await primaryKey(directory, config.vmg.uptane.key)).key.keyval.public
      : await readIfPresent(join(directory, "report.pub"));
    if (primary === undefined) continue;
    const keyOf = async (ecu: typeof zones[number]["ecus"][number]): Promise<string | undefined> => {
      const { ecu_id } = ecu;
      if (versionReportOf(config.bench, ecu).versionReport === undefined) return primary;
      return bench === undefined
        ? await readIfPresent(join(folders.bench, "keys", `${ecu_id}.pub`))
        : await bench.ecu(ecu_id).reportPublicKey();
    };
    const found = await Promise.all(
      zones.flatMap(({ ecus }) => ecus).map(async (ecu) => {
        const key = await keyOf(ecu);
        return key === undefined ? undefined : { vin, ecu_id: ecu.ecu_id, primary: false, keys: [key] };
      }),
    );
    const known = found.filter((entry) => entry !== undefined);
    // A vehicle some of whose ECUs are not known could not be believed any more.
    if (known.length < found.length) continue;
    entries.push({ vin, ecu_id: vmg_id, primary: true, keys: [primary] }, ...known);
  }
  return entries;
}

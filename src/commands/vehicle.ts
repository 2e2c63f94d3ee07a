// `zonebench vehicle`: what can be done at the vehicle, on the machine of its gateway, without the server: see its updates and
// approve one.

import { Command } from "commander";
import { join } from "node:path";
import { type ApprovalOutcome, approveLocally, type LocalUpdate, localUpdates } from "../vmg/mod.ts";
import { VmgError } from "../vmg/errors.ts";
import { type CommonOptions, configOf, foldersOf, makeCommand, withJson } from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable } from "./output.ts";
import { waitText } from "./update_text.ts";

interface VehicleOptions extends CommonOptions {
  vin?: string;
  json?: boolean;
}

/** An update with the vehicle that it is for. */
interface Found {
  vin: string;
  directory: string;
  update: LocalUpdate;
}

export function vehicleCommand(): Command {
  const command = new Command("vehicle").description(
    "at the vehicle: its updates as its gateway on this machine has them, and their approval",
  );
  command.addCommand(
    withJson(makeCommand("updates", "updates that have not ended, and what they wait for"), "updates as JSON")
      .option("--vin <vin>", "one vehicle alone, by its VIN or gateway id")
      .action(updates),
  );
  command.addCommand(
    withJson(
      makeCommand("approve", "approves an update that waits for it; it takes effect at once"),
      "{vin, update_id, outcome} as JSON",
    )
      .argument("[UPDATE_ID]", "which update; may be left out where one alone waits for approval")
      .option("--vin <vin>", "one vehicle alone, by its VIN or gateway id")
      .action(approve),
  );
  return examples(command, ["zonebench vehicle updates", "zonebench vehicle approve"]);
}

async function updates(options: VehicleOptions): Promise<void> {
  const found = await findUpdates(options);
  if (options.json) {
    printJson(found.map(({ vin, update }) => ({ vin, ...update })));
    return;
  }
  if (found.length === 0) {
    print("No update is under way. Start one at the server: zonebench update start --vin VIN");
    return;
  }
  printTable(
    ["UPDATE", "VEHICLE", "MODE", "STATUS", "ATTEMPT", "UNTIL", "ECUS", "WAITS FOR"],
    found.map(({ vin, update }) => [
      update.update_id,
      vin,
      update.mode,
      update.status,
      `${update.attempt} of ${update.attempts}`,
      update.deadline ?? "-",
      update.target_ecus.join(" "),
      update.waiting === null ? "" : waitText({ ...update.waiting, until: null }),
    ]),
  );
  const [waiting] = found.filter(({ update }) => update.waiting?.for === "approval");
  if (waiting !== undefined) print(`Next: zonebench vehicle approve ${waiting.update.update_id}`);
}

async function approve(id: string | undefined, options: VehicleOptions): Promise<void> {
  const { vin, directory, update } = choose(id, await findUpdates(options));
  const outcome = await approveLocally(directory, update.update_id);
  if (options.json) printJson({ vin, update_id: update.update_id, outcome });
  const text = told(outcome, update);
  if (outcome !== "approved" && outcome !== "before") throw new CommandFailed(text);
  if (!options.json) print(text);
}

/** The update that is meant. */
function choose(id: string | undefined, found: readonly Found[]): Found {
  if (id !== undefined) {
    const named = found.find(({ update }) => update.update_id === id);
    if (named !== undefined) return named;
    throw new CommandFailed(
      `no vehicle on this machine has an update ${id} under way\nSee: zonebench vehicle updates`,
    );
  }
  const open = found.filter(({ update }) => update.mode === "approve" && update.approved_by === null);
  if (open.length === 1) return open[0];
  throw new CommandFailed(
    open.length === 0
      ? "no update waits for approval\nSee: zonebench vehicle updates"
      : `${open.length} updates wait for approval: name one of ${
        open.map(({ update }) => update.update_id).join(", ")
      }`,
  );
}

function told(outcome: ApprovalOutcome, { update_id, mode, approved_by }: LocalUpdate): string {
  switch (outcome) {
    case "approved":
      return `Update ${update_id} approved; it goes on once the vehicle is parked`;
    case "before":
      return `Update ${update_id} was approved before, by the ${approved_by ?? "vehicle"}: nothing to do`;
    case "not_needed":
      return `update ${update_id} needs no approval: its mode is ${mode}`;
    case "to_be_cancelled":
      return `update ${update_id} is to be cancelled`;
    case "ended":
      return `update ${update_id} has ended`;
    case "unknown":
      return `this vehicle has no update ${update_id}`;
  }
}

/** The open updates of all vehicles of the bench whose gateway has run on this machine. */
async function findUpdates(options: VehicleOptions): Promise<Found[]> {
  const config = await configOf(options);
  const folders = foldersOf(options.data);
  const vehicles = config.bench.vehicles.filter((it) =>
    options.vin === undefined || it.vin === options.vin || it.vmg_id === options.vin
  );
  if (vehicles.length === 0) throw new CommandFailed(`there is no vehicle ${options.vin} on the bench`);
  const found: Found[] = [];
  let asked = 0;
  let failure: VmgError | undefined;
  for (const { vin } of vehicles) {
    const directory = join(folders.vmg, vin);
    try {
      for (const update of await localUpdates(directory)) found.push({ vin, directory, update });
      asked++;
    } catch (error) {
      if (!(error instanceof VmgError)) throw error;
      failure = error;
    }
  }
  if (asked === 0 && failure !== undefined) throw new CommandFailed(failure.message, { cause: failure });
  return found;
}

// `zonebench update`: starts an update, follows it, cancels it.

import { Command } from "commander";
import { isFinal, type Update } from "../contract/ota.ts";
import { routes } from "../contract/routes.ts";
import type { RestClient } from "../contract/client.ts";
import {
  asOperator,
  interruption,
  makeCommand,
  type OperatorOptions,
  pause,
  seconds,
  withJson,
  withOperator,
} from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable, Progress } from "./output.ts";

/** Time between two looks at an update, ms. */
const watchInterval = 500;

export function updateCommand(): Command {
  const command = new Command("update").description("updates of a vehicle");
  command.addCommand(start()).addCommand(watch()).addCommand(cancel()).addCommand(list());
  return examples(command, [
    "zonebench update start --vin KMHZB00BENCH00001",
    "zonebench update start --vin VMG-001 --ecu ECU_005 ECU_006",
    "zonebench update watch UPDATE_ID",
  ]);
}

function start(): Command {
  return withJson(
    withOperator(makeCommand("start", "builds the package and sends the vehicle the command")),
    "{update_id} as JSON",
  )
    .requiredOption("--vin <vin>", "the vehicle's VIN or gateway id")
    .option("--ecu <ecu...>", "only these ECUs (default: all that are outdated)")
    .action(async (options: OperatorOptions & { vin: string; ecu?: string[] }) => {
      const started = await asOperator(
        options,
        (client) => client.call(routes.startUpdate, { body: { vin: options.vin, target_ecus: options.ecu } }),
      );
      if (options.json) printJson({ update_id: started.update_id });
      else {
        print(`Update ${started.update_id} started`);
        print(`Next: zonebench update watch ${started.update_id}`);
      }
    });
}

function watch(): Command {
  return withJson(
    withOperator(makeCommand("watch", "follows an update until it ends; exit code 0 only if it completed")),
    "one object a line, the last with the final status",
  )
    .argument("[UPDATE_ID]", "which one (default: the newest)")
    .option("--timeout <seconds>", "longest time to watch", seconds, 86_400)
    .action(async (given: string | undefined, options: OperatorOptions & { timeout: number }) => {
      const last = await asOperator(
        options,
        async (client) => await follow(client, given ?? await newest(client), options),
      );
      const id = last.update_id;
      if (last.status === "completed") {
        if (!options.json) print(`Update ${id} completed`);
        return;
      }
      const reasons = [
        ...new Set(
          [last.error, ...last.ecus.map((ecu) => ecu.error)].filter((it): it is string => it !== null),
        ),
      ];
      throw new CommandFailed([`update ${id} ${last.status}`, ...reasons].join("\n"));
    });
}

async function newest(client: RestClient): Promise<string> {
  const { updates } = await client.call(routes.listUpdates, { query: { limit: 1 } });
  if (updates.length === 0) {
    throw new CommandFailed("no updates yet; start one: zonebench update start --vin VIN");
  }
  return updates[0].update_id;
}

async function follow(
  client: RestClient,
  id: string,
  options: { json?: boolean; timeout: number },
): Promise<Update> {
  using stop = interruption();
  using progress = new Progress(options.json);
  const end = performance.now() + options.timeout * 1000;
  let before = "";
  for (;;) {
    const update = await client.call(routes.getUpdate, { path: { id }, signal: stop.signal });
    const now = JSON.stringify(update);
    if (now !== before && options.json) print(now);
    before = now;
    progress.update(update.progress / 100, describe(update));
    if (isFinal(update.status)) return update;
    if (performance.now() > end) {
      throw new CommandFailed(
        `update ${id} is still ${update.status} after ${options.timeout} s; it goes on`,
      );
    }
    await pause(watchInterval, stop.signal);
  }
}

function describe(update: Update): string {
  const done = update.ecus.filter((ecu) => ecu.status === "completed").length;
  const back = update.ecus.filter((ecu) => ecu.status === "rolled_back").length;
  const busy = update.ecus.filter((ecu) => ecu.status === "installing")
    .map((ecu) => {
      const { ecu_id, step, progress, bytes, speed, time_left } = ecu;
      return [
        ecu_id,
        ...step === null ? [] : [step],
        `${Math.floor(progress)} %`,
        ...bytes === null ? [] : [`${kibibytes(bytes)} KiB`],
        ...speed === null ? [] : [`at ${kibibytes(speed)} KiB/s`],
        ...time_left === null ? [] : [`${Math.ceil(time_left)} s left`],
      ].join(" ");
    });
  return [
    `${update.status}, ${done} of ${update.ecus.length} ECUs`,
    ...back === 0 ? [] : [`${back} back on the old software`],
    ...busy,
  ].join(", ");
}

function kibibytes(bytes: number): string {
  return (bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0);
}

function cancel(): Command {
  return withJson(
    withOperator(makeCommand("cancel", "asks the vehicle to stop an update")),
    "the answer as JSON",
  )
    .argument("<UPDATE_ID>")
    .action(async (id: string, options: OperatorOptions) => {
      const answer = await asOperator(
        options,
        (client) => client.call(routes.cancelUpdate, { path: { id } }),
      );
      if (options.json) printJson(answer);
      else print(answer.message);
    });
}

function list(): Command {
  return withJson(withOperator(makeCommand("list", "shows updates, newest first")), "updates as JSON")
    .option("--vin <vin>", "only this vehicle's")
    .action(async (options: OperatorOptions & { vin?: string }) => {
      const { updates } = await asOperator(
        options,
        (client) => client.call(routes.listUpdates, { query: { limit: 100, vin: options.vin } }),
      );
      if (options.json) {
        printJson(updates);
        return;
      }
      if (updates.length === 0) print("No updates yet. Start one: zonebench update start --vin VIN");
      else {
        printTable(
          ["UPDATE", "VEHICLE", "STATUS", "PROGRESS", "ECUS", "CREATED"],
          updates.map((it) => [
            it.update_id,
            it.vin,
            it.status,
            `${Math.floor(it.progress)} %`,
            it.ecus.map((ecu) => ecu.ecu_id).join(" "),
            it.created,
          ]),
        );
      }
    });
}

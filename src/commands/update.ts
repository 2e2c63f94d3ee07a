// `zonebench update`: starts an update, follows it, approves it, cancels it.

import { Command, InvalidArgumentError, Option } from "commander";
import { type UpdateMode, updateMode } from "../contract/campaign.ts";
import { isFinal, type Update } from "../contract/ota.ts";
import { routes } from "../contract/routes.ts";
import { ProblemError, type RestClient } from "../contract/client.ts";
import { delay } from "../wait.ts";
import {
  asOperator,
  interruption,
  makeCommand,
  type OperatorOptions,
  seconds,
  withJson,
  withOperator,
} from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable, Progress } from "./output.ts";
import { describePackage } from "./package_file.ts";
import { describeUpdate, nextStep, waitText } from "./update_text.ts";

/** Time between two looks at an update, ms. */
const watchInterval = 500;

export function updateCommand(): Command {
  const command = new Command("update").description("updates of a vehicle");
  for (const part of [start(), watch(), approve(), cancel(), list()]) command.addCommand(part);
  return examples(command, [
    "zonebench update start --vin KMHZB00BENCH00001",
    "zonebench update start --vin VMG-001 --ecu ECU_005 ECU_006",
    "zonebench update start --vin VMG-001 --mode approve --retries 2 --timeout 2h",
    "zonebench update watch UPDATE_ID",
    "zonebench update approve UPDATE_ID",
  ]);
}

function start(): Command {
  return withJson(
    withOperator(makeCommand("start", "builds the package and sends the vehicle the command")),
    "{update_id} as JSON",
  )
    .requiredOption("--vin <vin>", "the vehicle's VIN or gateway id")
    .option("--ecu <ecu...>", "only these ECUs (default: all that are outdated)")
    .addOption(
      new Option(
        "--mode <mode>",
        "forced: as soon as it is there; when-parked: once the vehicle is parked; approve: once somebody has approved it " +
          "and the vehicle is parked. None overrides the conditions of vehicle and package",
      ).choices(updateMode.options).default("forced"),
    )
    .option("--retries <n>", "tries it again up to so many times (0 to 10) when it fails", retries, 0)
    .option(
      "--timeout <duration>",
      "time in which it must have been activated, all attempts together, e.g. 90s, 30m, 2h, 7d (default: no limit)",
      duration,
    )
    .action(async (options: StartOptions) => {
      const { vin, ecu, mode, retries, timeout } = options;
      const started = await asOperator(options, async (client) => {
        const answer = await client.call(routes.startUpdate, {
          body: { vin, target_ecus: ecu, mode, retries, timeout },
        });
        return { ...answer, text: options.json ? undefined : await packageText(client, answer.package_id) };
      });
      if (options.json) printJson({ update_id: started.update_id });
      else {
        print(`Update ${started.update_id} started`);
        if (started.text !== undefined) print(`  ${started.text}`);
        print(`Next: zonebench update watch ${started.update_id}`);
      }
    });
}

interface StartOptions extends OperatorOptions {
  vin: string;
  ecu?: string[];
  mode: UpdateMode;
  retries: number;
  timeout?: number;
}

function retries(text: string): number {
  if (!/^(?:\d|10)$/.test(text)) throw new InvalidArgumentError("expected a whole number from 0 to 10");
  return Number(text);
}

const unitSeconds = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** `90s`, `30m`, `2h`, `7d` or seconds alone, as seconds. */
function duration(text: string): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  const unit = Object.entries(unitSeconds).find(([name]) => name === (match?.[2] || "s"));
  const value = Number(match?.[1]) * (unit?.[1] ?? NaN);
  if (!(value >= 1 && value <= 31_536_000)) {
    throw new InvalidArgumentError("expected a time from 1s to 365d, e.g. 90s, 30m, 2h or 7d");
  }
  return value;
}

function watch(): Command {
  return withJson(
    withOperator(makeCommand("watch", "follows an update until it ends; exit code 0 only if it completed")),
    "one object a line, the last with the final status",
  )
    .argument("[UPDATE_ID]", "which one (default: the newest)")
    .option("--timeout <seconds>", "longest time to watch", seconds, 86_400)
    .action(async (given: string | undefined, options: OperatorOptions & { timeout: number }) => {
      const { last, text } = await asOperator(options, async (client) => {
        const last = await follow(client, given ?? await newest(client), options);
        return { last, text: options.json ? undefined : await packageText(client, last.package_id) };
      });
      const id = last.update_id;
      if (last.status === "completed") {
        if (!options.json) print(`Update ${id} completed${attemptText(last)}`);
        if (text !== undefined) print(`  ${text}`);
        return;
      }
      const reasons = [
        ...new Set(
          [last.error, ...last.ecus.map((ecu) => ecu.error)].filter((it): it is string => it !== null),
        ),
      ];
      throw new CommandFailed(
        [`update ${id} ${last.status}${attemptText(last)}`, ...reasons].join("\n"),
      );
    });
}

/** What was sent to the vehicle, in a line; undefined where the server cannot say. */
async function packageText(client: RestClient, packageId: string | null): Promise<string | undefined> {
  if (packageId === null) return undefined;
  try {
    const { manifest } = await client.call(routes.getManifest, { path: { id: packageId } });
    return describePackage(manifest);
  } catch (error) {
    // It stands beside the result, which is there: the package may have been deleted since.
    if (error instanceof ProblemError) return undefined;
    throw error;
  }
}

async function newest(client: RestClient): Promise<string> {
  const { updates } = await client.call(routes.listUpdates, { query: { limit: 1 } });
  if (updates.length === 0) {
    throw new CommandFailed("no updates yet; start one: zonebench update start --vin VIN");
  }
  return updates[0].update_id;
}

function attemptText({ attempt, attempts }: Update): string {
  return attempts === 1 ? "" : `, attempt ${attempt} of ${attempts}`;
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
  let told: string | undefined;
  for (let at = id;;) {
    const update = await client.call(routes.getUpdate, { path: { id: at }, signal: stop.signal });
    const now = JSON.stringify(update);
    if (now !== before && options.json) print(now);
    before = now;
    progress.update(update.progress / 100, describeUpdate(update));
    const next = nextStep(update);
    if (next !== told && next !== undefined && !options.json) progress.note(next);
    told = next;
    if (update.retried_by !== null) {
      // The next attempt is an update of its own.
      at = update.retried_by;
      continue;
    }
    if (isFinal(update.status) && update.waiting === null) return update;
    if (performance.now() > end) {
      throw new CommandFailed(
        `update ${at} is still ${update.status} after ${options.timeout} s${
          update.waiting === null ? "" : `: it ${waitText(update.waiting)}`
        }; it goes on`,
      );
    }
    await delay(watchInterval, stop.signal);
  }
}

function approve(): Command {
  return asking("approve", "approves an update that was started with --mode approve", routes.approveUpdate);
}

function cancel(): Command {
  return asking("cancel", "asks the vehicle to stop an update", routes.cancelUpdate);
}

/** A command that tells the server something about one update, and says what that answers. */
function asking(
  name: string,
  description: string,
  route: typeof routes.approveUpdate | typeof routes.cancelUpdate,
): Command {
  return withJson(withOperator(makeCommand(name, description)), "the answer as JSON")
    .argument("<UPDATE_ID>")
    .action(async (id: string, options: OperatorOptions) => {
      const answer = await asOperator(options, (client) => client.call(route, { path: { id } }));
      if (options.json) printJson(answer);
      else print(answer.message);
    });
}

function list(): Command {
  return withJson(withOperator(makeCommand("list", "shows updates, newest first")), "updates as JSON")
    .option("--vin <vin>", "only this vehicle's")
    .action(async (options: OperatorOptions & { vin?: string }) => {
      const { updates, total } = await asOperator(
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
          [
            "UPDATE",
            "VEHICLE",
            "MODE",
            "STATUS",
            "PROGRESS",
            "ATTEMPT",
            "UNTIL",
            "ECUS",
            "CREATED",
            "WAITS FOR",
          ],
          updates.map((it) => [
            it.update_id,
            it.vin,
            it.mode,
            it.status,
            `${Math.floor(it.progress)} %`,
            `${it.attempt} of ${it.attempts}`,
            it.deadline ?? "-",
            it.ecus.map((ecu) => ecu.ecu_id).join(" "),
            it.created,
            it.waiting === null ? "" : waitText(it.waiting),
          ]),
        );
        if (total > updates.length) print(`… and ${total - updates.length} older ones`);
      }
    });
}

// `zonebench link status`: how the vehicles' links to the server fare, as their gateways on this machine say.

import { type Command, Command as Group } from "commander";
import { join } from "node:path";
import { type LinkState, readLinkState } from "../vmg/mod.ts";
import { type CommonOptions, configOf, foldersOf, makeCommand, withJson } from "./common.ts";
import { CommandFailed, print, printJson } from "./output.ts";

interface StatusOptions extends CommonOptions {
  json?: boolean;
}

export function linkCommand(): Command {
  const group = new Group("link").description("the vehicles' links to the server");
  group.addCommand(
    withJson(
      makeCommand(
        "status",
        "connections, addresses, queue and mode of each vehicle gateway of this data folder",
      ),
      "one object a vehicle as JSON",
    ).argument("[VIN]", "one vehicle alone").action(status),
  );
  return group;
}

async function status(vin: string | undefined, options: StatusOptions): Promise<void> {
  const config = await configOf(options);
  const folders = foldersOf(options.data);
  const vins = config.bench.vehicles.filter((it) => vin === undefined || it.vin === vin || it.vmg_id === vin)
    .map((it) => it.vin);
  if (vins.length === 0) throw new CommandFailed(`there is no vehicle ${vin} on the bench`);
  const states = vins.flatMap((it) => readLinkState(join(folders.vmg, it)) ?? []);
  if (states.length === 0) {
    throw new CommandFailed(
      `no gateway has run with the data folder ${folders.root}: start one with zonebench serve`,
    );
  }
  if (options.json) {
    printJson(states);
    return;
  }
  for (const state of states) describe(state);
}

function describe(state: LinkState): void {
  const { vin, connected, running, stopped, link, written } = state;
  const now = running
    ? (connected ? "connected over MQTT" : `not connected, ${link.mode} mode`)
    : stopped
    ? "not running"
    : "not running: it ended without a goodbye";
  print(`${vin}: ${now} (as of ${written})`);
  const rows: [string, string | number][] = [
    ["local address", link.local_address ?? "-"],
    ["last connection", link.last_connection_time ?? "never"],
    [
      "connections",
      `${link.total_connections}, ${link.failed_connections} failed, ${link.reconnections} again`,
    ],
    ["address changes", link.address_changes],
    ["offline", `${(link.offline_time / 1000).toFixed(1)} s since the start`],
    [
      "messages",
      `${link.messages_sent} sent, ${link.messages_received} received, ${link.messages_dropped} dropped`,
    ],
    ["queue", link.queued],
  ];
  for (const [name, value] of rows) print(`  ${name.padEnd(16)} ${value}`);
}

// `zonebench discover`: which gateways answer, asked over UDP.

import type { Command } from "commander";
import { discover } from "../../hardware/doip/discover.ts";
import type { BenchConfig } from "../config/schema.ts";
import { type PlacedGateway, placeGateways } from "./bench_description.ts";
import { placeAdapters } from "./can_description.ts";
import { type CommonOptions, configOf, interruption, makeCommand, seconds, withJson } from "./common.ts";
import { openTrace, type TraceOptions, withTrace } from "./trace.ts";
import { CommandFailed, examples, print, printJson, printTable, UsageError } from "./output.ts";

interface DiscoverOptions extends CommonOptions, TraceOptions {
  target?: string[];
  timeout: number;
}

export function discoverCommand(): Command {
  const command = withJson(
    withTrace(
      makeCommand("discover", "asks for DoIP gateways: those of the bench, or at the addresses given"),
    ),
    "gateways as JSON",
  )
    .option("--target <address[:port]...>", "addresses to ask instead, a broadcast address too")
    .option("--timeout <seconds>", "how long to wait for answers", seconds, 2)
    .action(run);
  return examples(command, ["zonebench discover", "zonebench discover --target 192.168.1.255 --timeout 5"]);
}

async function run(options: DiscoverOptions): Promise<void> {
  const { bench } = await configOf(options);
  const placed = placeGateways(bench);
  const { discovery } = bench;
  const targets = options.target?.map(parseTarget) ?? targetsOf(bench);
  await using trace = await openTrace(options);
  using stop = interruption();
  const found = await discover({
    targets,
    timeout: options.timeout * 1000,
    // Each gateway of the bench answers once; who else is at a given address is not known beforehand.
    enough: options.target === undefined ? placed.length : undefined,
    localAddress: discovery.address,
    tap: trace?.bus.network("discovery"),
    signal: stop.signal,
  });
  found.sort((a, b) => a.logicalAddress - b.logicalAddress);
  const gateways = found.map((entity) => ({
    address: entity.address,
    port: entity.port,
    logical_address: entity.logicalAddress,
    vin: entity.vin,
    eid: entity.eid.toHex().toUpperCase(),
    // The entity does not tell what stands behind it: the bench file does.
    ecus: placed.filter((it) => it.logicalAddress === entity.logicalAddress && it.vehicle.vin === entity.vin)
      .flatMap((it) => it.ecus.map((ecu) => ({ ecu_id: ecu.ecu_id, logical_address: ecu.logical_address }))),
  }));
  if (options.json) printJson(gateways);
  else {
    printTable(
      ["ADDRESS", "LOGICAL", "VIN", "EID", "ECUS"],
      gateways.map((it) => [
        `${it.address}:${it.port}`,
        hex16(it.logical_address),
        it.vin,
        it.eid,
        it.ecus.map((ecu) => ecu.ecu_id).join(" "),
      ]),
    );
    const silent = placed.filter((it) =>
      options.target === undefined && !found.some((entity) => entity.logicalAddress === it.logicalAddress)
    );
    for (const it of silent) print(`${it.zonalGatewayId}${where(it)} did not answer`);
    const onCan = options.target === undefined ? placeAdapters(bench) : [];
    for (const { adapter, target } of onCan) {
      print(`${adapter.adapter_id} at ${target}: ECUs on CAN are asked by zonebench adapters`);
    }
  }
  if (found.length === 0) {
    throw new CommandFailed(
      `no gateway answered within ${options.timeout} s; is the bench on? (zonebench serve, or the real one's power)`,
    );
  }
}

function where({ hostname, port }: PlacedGateway): string {
  return hostname === undefined ? "" : ` at ${hostname}:${port}`;
}

/** Where the bench's gateways are asked: one whose address is not known, at all the addresses where it may be. */
export function targetsOf(bench: BenchConfig): { hostname: string; port: number }[] {
  const targets = placeGateways(bench).flatMap(({ hostname, port }) =>
    hostname === undefined
      ? bench.discovery.targets.map((target) => ({ hostname: target, port }))
      : [{ hostname, port }]
  );
  return [...new Map(targets.map((it) => [`${it.hostname} ${it.port}`, it])).values()];
}

function parseTarget(text: string): { hostname: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[3] ?? 13_400);
  if (!match || port < 1 || port > 65_535) {
    throw new UsageError(`--target ${text}: expected an address such as 192.168.1.10 or 192.168.1.10:13400`);
  }
  return { hostname: match[1] ?? match[2], port };
}

function hex16(value: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(4, "0")}`;
}

// `zonebench dtc`: reads and clears the diagnostic trouble codes of an ECU, over the bus or through the server.

import type { Command } from "commander";
import { UdsClient } from "../../hardware/uds/client.ts";
import {
  decodeSnapshots,
  type Dtc,
  dtcStatusNames,
  formatDtc,
  parseDtc,
  parseStatusMask,
} from "../../hardware/uds/dtc.ts";
import { NegativeResponseError } from "../../hardware/uds/errors.ts";
import { Did, hex } from "../../hardware/uds/services.ts";
import type { BenchEcuType } from "../config/schema.ts";
import { type BenchEcu, findEcu, withEcu } from "./bench_access.ts";
import {
  asOperator,
  interruption,
  makeCommand,
  type OperatorOptions,
  seconds,
  withJson,
  withOperator,
} from "./common.ts";
import { openWiring } from "./gateway_links.ts";
import { type TraceOptions, withTrace } from "./trace.ts";
import { CommandFailed, examples, print, printJson, printTable, UsageError } from "./output.ts";
import { ServerTransport } from "./via_server.ts";

interface DtcOptions extends OperatorOptions, TraceOptions {
  status: string;
  snapshot?: boolean;
  extended?: boolean;
  clear?: boolean | string;
  viaServer?: boolean;
  vin?: string;
  timeout: number;
}

/** A DTC as it is shown. */
interface ShownDtc {
  code: string;
  number: string;
  status: string;
  status_names: string[];
  snapshots?: ShownRecord[];
  extended_data?: ShownRecord[];
}

/** A record: taken apart where lengths are known, else its bytes. */
interface ShownRecord {
  record: number | null;
  values?: { did: string; data: string }[];
  data?: string;
}

const allGroups = 0xffffff;

/** Lengths of identifiers that ISO 14229-1 Annex C.1 fixes; others the bench file tells. */
const standardLengths: ReadonlyMap<number, number> = new Map([
  [Did.vin, 17],
  [Did.activeDiagnosticSession, 1],
]);

type Lengths = (did: number) => number | undefined;

function lengthsOf({ data_identifiers = [] }: BenchEcuType): Lengths {
  const own = new Map(data_identifiers.map(({ did, data }) => [did, data.length / 2]));
  return (did) => own.get(did) ?? standardLengths.get(did);
}

export function dtcCommand(): Command {
  const command = withJson(
    withOperator(withTrace(makeCommand("dtc", "lists or clears the diagnostic trouble codes of an ECU"))),
    "{ecu_id, status_availability_mask, dtcs: [{code, number, status, status_names, …}]} as JSON",
  )
    .argument("<ECU>", "ECU id in the bench file, e.g. ECU_003")
    .option("--status <mask>", "those with one of these status bits: a number, or names with commas", "0xFF")
    .option("--snapshot", "with what was stored when each occurred")
    .option("--extended", "with the extended data of each")
    .option("--clear [dtc]", "clears all, or one DTC or group, e.g. P0562-16 or 0x056216")
    .option("--via-server", "through server, MQTT and vehicle gateway instead of straight over the bus")
    .option("--vin <vin>", "which vehicle, where several are on the bench")
    .option("--timeout <seconds>", "longest time for all of it", seconds, 30)
    .action(run);
  return examples(command, [
    "zonebench dtc ECU_001                               all that have a status",
    "zonebench dtc ECU_001 --status confirmedDtc         confirmed ones",
    "zonebench dtc ECU_001 --snapshot --extended --json  with everything stored beside them",
    "zonebench dtc ECU_001 --clear P0562-16              clears one",
  ]);
}

async function run(ecuId: string, options: DtcOptions): Promise<void> {
  const mask = usage("--status", () => parseStatusMask(options.status));
  const { clear } = options;
  const group = typeof clear === "string" ? usage("--clear", () => parseDtc(clear)) : allGroups;
  using stop = interruption();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(options.timeout * 1000)]);
  const work = (client: UdsClient, { ecuType }: BenchEcu) =>
    clear === undefined || clear === false
      ? list(client, ecuId, mask, options, lengthsOf(ecuType), signal)
      : clearDtcs(client, ecuId, group, options, signal);
  try {
    await (options.viaServer
      ? throughServer(ecuId, options, signal, work)
      : overTheBus(ecuId, options, signal, work));
  } catch (error) {
    if (signal.aborted && !stop.signal.aborted) {
      throw new CommandFailed(`${ecuId}: not done within ${options.timeout} s`, { cause: error });
    }
    if (error instanceof NegativeResponseError) throw new CommandFailed(error.message, { cause: error });
    throw error;
  }
}

async function overTheBus(
  ecuId: string,
  options: DtcOptions,
  signal: AbortSignal,
  work: (client: UdsClient, ecu: BenchEcu) => Promise<void>,
): Promise<void> {
  await using wiring = await openWiring(options);
  const ecu = findEcu(wiring.config.bench, ecuId, options.vin);
  await withEcu(wiring, ecu, signal, (client) => work(client, ecu));
}

async function throughServer(
  ecuId: string,
  options: DtcOptions,
  signal: AbortSignal,
  work: (client: UdsClient, ecu: BenchEcu) => Promise<void>,
): Promise<void> {
  await asOperator(options, async (rest, config) => {
    const ecu = findEcu(config.bench, ecuId, options.vin);
    const { vin } = ecu.gateway.vehicle;
    using client = new UdsClient(new ServerTransport(rest, { vin, ecuId }, signal), { ecu: ecuId });
    await work(client, ecu);
  });
}

async function list(
  client: UdsClient,
  ecuId: string,
  mask: number,
  options: DtcOptions,
  lengths: Lengths,
  signal: AbortSignal,
): Promise<void> {
  const { availability, dtcs } = await client.dtc.byStatusMask(mask, { signal });
  const shown: ShownDtc[] = [];
  for (const dtc of dtcs) shown.push(await show(client, dtc, options, lengths, signal));
  if (options.json) {
    printJson({ ecu_id: ecuId, status_availability_mask: hex(availability, 2), dtcs: shown });
    return;
  }
  if (shown.length === 0) return print(`${ecuId}: no DTC with a status of ${hex(mask, 2)}`);
  printTable(
    ["DTC", "STATUS", "MEANING"],
    shown.map(({ code, status, status_names }) => [code, status, status_names.join(", ")]),
  );
  for (const { code, snapshots = [], extended_data = [] } of shown) {
    for (const snapshot of snapshots) print(`${code} snapshot ${describe(snapshot)}`);
    for (const record of extended_data) print(`${code} extended data ${describe(record)}`);
  }
}

async function show(
  client: UdsClient,
  { code, status }: Dtc,
  options: DtcOptions,
  lengths: Lengths,
  signal: AbortSignal,
): Promise<ShownDtc> {
  const shown: ShownDtc = {
    code: formatDtc(code),
    number: hex(code, 6),
    status: hex(status, 2),
    status_names: dtcStatusNames(status),
  };
  if (options.snapshot) {
    const { records } = await client.dtc.snapshot(code, 0xff, { signal });
    shown.snapshots = decodeSnapshots(records, lengths)?.map(({ record, values }) => ({
      record,
      values: values.map(({ did, data }) => ({ did: hex(did, 4), data: upperHex(data) })),
    })) ?? [raw(records)];
  }
  if (options.extended) {
    const { records } = await client.dtc.extendedData(code, 0xff, { signal });
    // How long each record is, only the ECU's own description would tell.
    shown.extended_data = records.length === 0 ? [] : [raw(records)];
  }
  return shown;
}

async function clearDtcs(
  client: UdsClient,
  ecuId: string,
  group: number,
  options: DtcOptions,
  signal: AbortSignal,
): Promise<void> {
  await client.dtc.clear(group, { signal });
  const cleared = group === allGroups ? "all" : formatDtc(group);
  if (options.json) printJson({ ecu_id: ecuId, cleared });
  else print(`${ecuId}: ${cleared === "all" ? "all DTCs" : cleared} cleared`);
}

function describe({ record, values, data }: ShownRecord): string {
  const number = record === null ? "records" : hex(record, 2);
  const contents = values?.map(({ did, data }) => `${did}=${data}`).join(" ") ?? data;
  return `${number}: ${contents}`;
}

function raw(records: Uint8Array): ShownRecord {
  return { record: null, data: upperHex(records) };
}

function upperHex(bytes: Uint8Array): string {
  return bytes.toHex().toUpperCase();
}

function usage<T>(option: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`${option}: ${error.message}`);
    throw error;
  }
}

// `zonebench adapters`: which serial ports there are, and on request what is on them.

import type { Command } from "commander";
import { knownAdapter, probe, type ProbeResult } from "../../hardware/can/slcan_probe.ts";
import { PortBusyError, PortPermissionError, SerialError } from "../../hardware/serial/errors.ts";
import { openPort } from "../../hardware/serial/open_port.ts";
import { listPorts, type SerialPortInfo } from "../../hardware/serial/ports.ts";
import { askAdapters, type BenchAdapterState } from "./bench_adapters.ts";
import { type CommonOptions, configOf, interruption, makeCommand, withJson } from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable, UsageError } from "./output.ts";

interface AdaptersOptions extends CommonOptions {
  probe?: boolean;
  port?: string[];
  baudRate: string;
}

/** One port as `--json` shows it. */
interface ListedPort {
  port: string;
  by_id?: string;
  driver?: string;
  usb?: string;
  manufacturer?: string;
  product?: string;
  usb_serial_number?: string;
  /** not asked · slcan · something else · nothing answers · in use · no permission · failed */
  state: string;
  /** What it is known as by its USB numbers or name. */
  adapter?: string;
  version?: string;
  serial_number?: string;
  acknowledges?: boolean;
  error?: string;
}

export function adaptersCommand(): Command {
  const command = withJson(
    makeCommand("adapters", "lists serial ports and the adapters of the bench, and what is on them"),
    "adapters of the bench, then ports, as JSON",
  )
    .option("--probe", "asks on every port, not on those of known USB adapters alone")
    .option("--port <path...>", "these ports only, asked: a device path or tcp://host:port")
    .option("--baud-rate <rate>", "bit rate of the serial line; USB adapters take any", "115200")
    .addHelpText(
      "after",
      "\nAsking sends \\r\\r\\r, C\\r (close the channel), V\\r (version) and N\\r (serial number). A device that speaks\n" +
        "something else may take them for commands of its own, and some restart when their port is opened: ask only\n" +
        "where you know what is plugged in. Ports of known SLCAN adapters (CANable, CANtact, CANUSB) are always asked.",
    )
    .action(run);
  return examples(command, [
    "zonebench adapters --bench config/bench.yaml",
    "zonebench adapters --port /dev/ttyUSB0 --baud-rate 1000000",
    "zonebench adapters --probe --json",
  ]);
}

async function run(options: AdaptersOptions): Promise<void> {
  const baudRate = Number(options.baudRate);
  if (!Number.isInteger(baudRate) || baudRate < 1) {
    throw new UsageError(`--baud-rate ${options.baudRate}: expected a whole number, e.g. 115200`);
  }
  const bench = options.port === undefined ? await ofBench(options) : [];
  // Those of the bench have been asked already.
  const known = new Set(bench.map(({ port }) => port));
  const ports: SerialPortInfo[] = options.port?.map((path) => ({ path })) ??
    (await listPorts()).filter(({ path, byId }) =>
      !known.has(path) && !(byId !== undefined && known.has(byId))
    );
  const asked = (port: SerialPortInfo) =>
    options.probe === true || options.port !== undefined || knownAdapter(port) !== undefined;
  // Each port by itself: one that does not react holds up no other.
  const listed = await Promise.all(
    ports.map((port) => asked(port) ? ask(port, baudRate) : describe(port, { state: "not asked" })),
  );
  if (options.json) printJson([...bench, ...listed]);
  else {
    showBench(bench);
    show(listed);
  }
  if (options.port !== undefined && !listed.some((port) => port.state === "slcan")) {
    throw new CommandFailed("no SLCAN adapter answered there");
  }
}

async function ofBench(options: AdaptersOptions): Promise<BenchAdapterState[]> {
  const { bench } = await configOf(options);
  using stop = interruption();
  return await askAdapters(bench, stop.signal);
}

function showBench(adapters: readonly BenchAdapterState[]): void {
  if (adapters.length === 0) return;
  printTable(
    ["ADAPTER", "PORT", "BIT/S", "STATE", "VERSION", "ECUS"],
    adapters.map(({ adapter_id, port, bit_rate, state, error, version, ecus = [] }) => [
      adapter_id,
      port,
      String(bit_rate),
      error === undefined ? state : `${state}: ${error}`,
      version ?? "",
      ecus.map(({ ecu_id, answers }) => answers ? ecu_id : `${ecu_id} (silent)`).join(" "),
    ]),
  );
  print("");
}

async function ask(port: SerialPortInfo, baudRate: number): Promise<ListedPort> {
  let result: ProbeResult;
  try {
    result = await probe(await openPort(port.path, { baudRate }));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const state = error instanceof PortBusyError
      ? "in use"
      : error instanceof PortPermissionError
      ? "no permission"
      : "failed";
    return describe(port, {
      state,
      // The port is shown beside it.
      error: error instanceof SerialError ? error.message.replace(`${port.path}: `, "") : error.message,
    });
  }
  return describe(port, {
    state: result.found === "nothing" ? "nothing answers" : result.found,
    version: result.version,
    serial_number: result.serialNumber,
    acknowledges: result.found === "slcan" ? result.acknowledges : undefined,
  });
}

function describe(port: SerialPortInfo, more: Pick<ListedPort, "state"> & Partial<ListedPort>): ListedPort {
  return {
    port: port.path,
    by_id: port.byId,
    driver: port.driver,
    usb: port.vendorId === undefined ? undefined : `${port.vendorId}:${port.productId}`,
    manufacturer: port.manufacturer,
    product: port.product,
    usb_serial_number: port.serialNumber,
    adapter: knownAdapter(port),
    ...more,
  };
}

function show(ports: readonly ListedPort[]): void {
  if (ports.length === 0) {
    print("no serial ports; is the adapter plugged in?");
    return;
  }
  printTable(
    ["PORT", "DEVICE", "STATE", "VERSION", "SERIAL", "ALWAYS AT"],
    ports.map((port) => [
      port.port,
      [port.manufacturer, port.product ?? port.driver].filter((it) => it !== undefined).join(" "),
      port.error === undefined ? port.state : `${port.state}: ${port.error}`,
      port.version ?? "",
      port.serial_number ?? port.usb_serial_number ?? "",
      port.by_id ?? "",
    ]),
  );
  if (ports.some((port) => port.state === "not asked")) {
    print("--probe asks what is on the others; --help says what that sends");
  }
}

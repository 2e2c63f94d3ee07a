// `zonebench diag`: one UDS request to one ECU, straight over the bus or through server, MQTT and vehicle gateway.

import type { Command } from "commander";
import { stringify } from "yaml";
import { NegativeResponseError } from "../../hardware/uds/errors.ts";
import { nrcName } from "../../hardware/uds/nrc.ts";
import { Sid } from "../../hardware/uds/services.ts";
import { hexBytes, serviceId } from "../contract/identifiers.ts";
import { decodeAnswer, type Decoded } from "../server/diagnostics/decode.ts";
import { findEcu, withEcu } from "./bench_access.ts";
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
import { CommandFailed, examples, plain, print, printJson, UsageError } from "./output.ts";
import { askThroughServer } from "./via_server.ts";

interface DiagOptions extends OperatorOptions, TraceOptions {
  viaServer?: boolean;
  decode?: boolean;
  vin?: string;
  timeout: number;
}

/** What came of a request; `response` is absent when the request asked for none and none came. */
interface Outcome {
  request: string;
  response?: string;
  nrc?: string;
}

export function diagCommand(): Command {
  const command = withJson(
    withOperator(withTrace(makeCommand("diag", "sends one UDS request to an ECU and prints the answer"))),
    "{request, response, nrc?} as JSON, with --decode also {decoded}",
  )
    .argument("<ECU>", "ECU id in the bench file, e.g. ECU_003")
    .argument("<SERVICE>", "service id, e.g. 0x22")
    .argument("[DATA]", "what follows, as hexadecimal digits, e.g. F190", "")
    .option("--via-server", "through server, MQTT and vehicle gateway instead of straight over the bus")
    .option("--decode", "with --json: the answer's fields beside its bytes")
    .option("--vin <vin>", "which vehicle, where several are on the bench")
    .option("--timeout <seconds>", "longest wait for the answer", seconds, 30)
    .action(run);
  return examples(command, [
    "zonebench diag ECU_003 0x22 F190                reads the VIN",
    "zonebench diag ECU_003 0x22 F190 --via-server   the same through server, MQTT and gateway",
    "zonebench diag ECU_001 0x19 02FF                reads all DTCs",
  ]);
}

async function run(ecuId: string, service: string, data: string, options: DiagOptions): Promise<void> {
  const sid = serviceId.safeParse(service);
  if (!sid.success) throw new UsageError(`SERVICE ${service}: ${sid.error.issues[0].message}`);
  const rest = hexBytes.safeParse(data.replaceAll(/[\s:]/g, ""));
  if (!rest.success) throw new UsageError(`DATA ${data}: ${rest.error.issues[0].message}`);
  using stop = interruption();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(options.timeout * 1000)]);
  let outcome: Outcome;
  try {
    outcome = options.viaServer
      ? await throughServer(ecuId, sid.data, rest.data, options, signal)
      : await overTheBus(ecuId, sid.data, rest.data, options, signal);
  } catch (error) {
    if (signal.aborted && !stop.signal.aborted) {
      throw new CommandFailed(`${ecuId}: no answer within ${options.timeout} s`, { cause: error });
    }
    throw error;
  }
  const { response, nrc } = outcome;
  const decoded = response === undefined
    ? null
    : decodeAnswer(Number(sid.data), Uint8Array.fromHex(response));
  if (options.json) printJson(options.decode ? { ...outcome, decoded } : outcome);
  else if (nrc === undefined) {
    print(describe(response));
    // An identifier's text stands beside its bytes already.
    if (decoded !== null && Number(sid.data) !== Sid.readDataByIdentifier) print(indented(decoded));
  }
  if (outcome.nrc !== undefined) {
    throw new CommandFailed(
      `${ecuId} refused service ${sid.data}: NRC ${outcome.nrc} ${nrcName(Number(outcome.nrc))}`,
    );
  }
}

async function overTheBus(
  ecuId: string,
  service: string,
  data: string,
  options: DiagOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  await using wiring = await openWiring(options);
  const request = service.slice(2) + data;
  try {
    const response = await withEcu(
      wiring,
      findEcu(wiring.config.bench, ecuId, options.vin),
      signal,
      (client) => client.raw(Uint8Array.fromHex(request), { signal }),
    );
    return { request, response: response?.toHex().toUpperCase() };
  } catch (error) {
    if (!(error instanceof NegativeResponseError)) throw error;
    return { request, response: error.response.toHex().toUpperCase(), nrc: hexByte(error.nrc) };
  }
}

async function throughServer(
  ecuId: string,
  service: string,
  data: string,
  options: DiagOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  return await asOperator(options, async (client, config) => {
    const vin = options.vin ?? findEcu(config.bench, ecuId).gateway.vehicle.vin;
    const request = service.slice(2) + data;
    return { request, ...await askThroughServer(client, { vin, ecuId }, request, signal) };
  });
}

/** The bytes, and beside them the text that a data identifier may hold. */
function describe(response: string | undefined): string {
  if (response === undefined) return "no answer was asked for, and none came";
  const bytes = Uint8Array.fromHex(response);
  const spaced = response.replaceAll(/(..)(?=.)/g, "$1 ");
  const text = bytes[0] === 0x62 && bytes.length > 3
    ? new TextDecoder("latin1").decode(bytes.subarray(3))
    : "";
  return /^[ -~]+\0*$/.test(text) ? `${spaced}  "${plain(text.replace(/\0+$/, ""))}"` : spaced;
}

/** Fields, one a line. */
function indented(decoded: Decoded): string {
  return stringify(decoded).trimEnd().split("\n").map((line) => `  ${plain(line)}`).join("\n");
}

function hexByte(value: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(2, "0")}`;
}

// The adapters of the bench file: whether each can be opened, and which of its ECUs answer.

import { NegativeResponseError } from "../../hardware/uds/errors.ts";
import type { UdsTransport } from "../../hardware/uds/transport.ts";
import { UdsClient } from "../../hardware/uds/client.ts";
import type { BenchConfig } from "../config/schema.ts";
import { describeError } from "../log.ts";
import { placeGateways } from "./bench_description.ts";
import { canAdapterOf, ecuOnCan, placeAdapters, type PlacedAdapter } from "./can_description.ts";
import { useAdapter } from "./shared_adapters.ts";

/** An adapter of the bench as `--json` shows it. */
export interface BenchAdapterState {
  adapter_id: string;
  /** Device or `tcp://host:port`. */
  port: string;
  bit_rate: number;
  state: "open" | "failed";
  /** What the adapter said of itself. */
  version?: string;
  /** Why it could not be opened. */
  error?: string;
  /** Configured ECUs, and whether each answered TesterPresent; absent when the adapter could not be opened. */
  ecus?: { ecu_id: string; answers: boolean }[];
}

/** Longest wait for an ECU's answer, ms: beyond P2, as all are asked at once. */
const answerTime = 300;

/** Opens each adapter of the bench and asks the ECUs behind it. It writes nothing and changes no session. */
export function askAdapters(bench: BenchConfig, signal: AbortSignal): Promise<BenchAdapterState[]> {
  return Promise.all(placeAdapters(bench).map((placed) => ask(bench, placed, signal)));
}

async function ask(
  bench: BenchConfig,
  placed: PlacedAdapter,
  signal: AbortSignal,
): Promise<BenchAdapterState> {
  const { adapter_id, bit_rate } = placed.adapter;
  const common = { adapter_id, port: placed.target, bit_rate };
  const ecus = placeGateways(bench).flatMap((gateway) => gateway.ecus)
    .flatMap(({ ecu_id, can }) => can?.adapter === adapter_id ? [{ ecu_id, onCan: ecuOnCan(can) }] : []);
  let used;
  try {
    used = await useAdapter(canAdapterOf(placed), signal, undefined);
  } catch (error) {
    signal.throwIfAborted();
    return { ...common, state: "failed", error: describeError(error) };
  }
  const { isotp, version, release } = used;
  try {
    const answers = await Promise.all(ecus.map(async ({ ecu_id, onCan }) => {
      const transport = isotp.transport(onCan.address, onCan.isotp);
      try {
        return { ecu_id, answers: await isThere(ecu_id, transport, signal) };
      } finally {
        transport.close();
      }
    }));
    return { ...common, state: "open", version, ecus: answers };
  } finally {
    await release();
  }
}

/** TesterPresent: the least that every ECU answers. A refusal is an answer. */
async function isThere(ecu: string, transport: UdsTransport, signal: AbortSignal): Promise<boolean> {
  using client = new UdsClient(transport, { ecu, latency: answerTime });
  try {
    await client.raw(Uint8Array.of(0x3e, 0x00), { signal });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    return error instanceof NegativeResponseError;
  }
}

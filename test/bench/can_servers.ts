/// <reference lib="deno.worker" />
// The other end of the CAN bench, in a thread of its own: simulated adapters, each with one ECU that takes every message and
// answers it with one byte.
import { IsoTpServer } from "../../hardware/isotp/server.ts";
import { SimulatedAdapter } from "../../hardware/sim/adapter.ts";
import type { SimulatedTiming } from "../../hardware/sim/options.ts";
import { type CanBenchAdapter, requestId, responseId } from "./can_adapters.ts";

self.onmessage = async ({ data: adapters }: MessageEvent<CanBenchAdapter[]>) => {
  for (const { name, timing, ...options } of adapters) await serve(name, timing, options);
  self.postMessage("ready");
};

async function serve(
  adapterId: string,
  timing: SimulatedTiming,
  options: Omit<CanBenchAdapter, "name" | "timing">,
): Promise<void> {
  const adapter = new SimulatedAdapter(
    { adapterId, hostname: "127.0.62.1", port: 0, ...options },
    { timing, log: () => {} },
  );
  const server = new IsoTpServer(adapter.bus.attach("ECU"));
  server.attach({ handle: (_request, _context, respond) => respond(Uint8Array.of(0x7e)) }, {
    physical: { format: "normal", requestId, responseId },
  });
  await adapter.listen();
}

// The default bench with its CAN adapter on a PTY, as two programs see it: one simulates it, the other only uses it.

import { parse, stringify } from "yaml";

export interface WiredBench {
  /** The bench file of the program that simulates gateways, ECUs and adapter. */
  hardware: string;
  /** That of the program to which they are somewhere else. */
  user: string;
}

/**
 * Makes the two bench files.
 * @param text config/bench.yaml
 * @param network the first three numbers of the simulated gateways' addresses, e.g. `127.0.63`
 * @param pty where the adapter's line is
 */
export function wiredBench(text: string, network: string, pty: string): WiredBench {
  const simulated = parse(text);
  Object.assign(simulated.bench.vehicles[0].adapters[0], { pty });
  const real = parse(text);
  real.bench.simulated = false;
  Object.assign(real.bench.vehicles[0].adapters[0], { port: pty });
  for (const [n, gateway] of real.bench.vehicles[0].gateways.entries()) {
    gateway.hostname = `${network}.${n + 1}`;
  }
  return { hardware: stringify(simulated), user: stringify(real) };
}

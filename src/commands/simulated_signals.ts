// Signals of the simulated vehicle: a drive that repeats, so that telemetry has something to carry where no vehicle is.

import type { TelemetrySource } from "../vmg/telemetry.ts";

/** One drive: seconds from its begin and the speed in km/h there; straight lines between. */
const drive: readonly (readonly [second: number, speed: number])[] = [
  [0, 0],
  [11, 0],
  [15, 15],
  [23, 15],
  [28, 0],
  [49, 0],
  [61, 32],
  [85, 32],
  [96, 0],
  [117, 0],
  [143, 50],
  [155, 50],
  [163, 35],
  [176, 35],
  [188, 0],
  [195, 0],
];

/**
 * Speed as a drive through a town that repeats, a battery that it empties from 90 to 20 % and fills again, and a motor that it
 * warms from 20 to 85 °C.
 *
 * @param now milliseconds
 */
export function simulatedSignals(now: () => number = () => performance.now()): TelemetrySource {
  const started = now();
  return {
    name: "simulated vehicle",
    read() {
      const seconds = (now() - started) / 1000;
      const phase = seconds % 7200;
      // Two hours: one and a half of driving, half an hour at the charger.
      const batterySoc = phase < 5400 ? 90 - 70 * phase / 5400 : 20 + 70 * (phase - 5400) / 1800;
      return {
        battery_soc: round(batterySoc),
        speed: round(phase < 5400 ? speedAt(seconds % 195) : 0),
        temp: round(85 - 65 * Math.exp(-seconds / 600)),
      };
    },
  };
}

function speedAt(second: number): number {
  const next = drive.findIndex(([at]) => at > second);
  const [t1, v1] = drive[next - 1];
  const [t2, v2] = drive[next];
  return v1 + (v2 - v1) * (second - t1) / (t2 - t1);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

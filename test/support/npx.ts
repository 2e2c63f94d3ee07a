// Programs of npm's registry, which npx fetches where they are missing.

import { turnFile } from "./turns.ts";

/** What a program prints that npx starts; undefined where it cannot be had. One at a time: two that fetch at once spoil npm's cache. */
export function throughNpx(...args: string[]): string | undefined {
  using turn = turnFile("npx");
  turn.lockSync(true);
  try {
    const { success, stdout } = new Deno.Command("npx", {
      args: ["-y", ...args],
      env: { NO_COLOR: "1" },
      stdin: "null",
      stderr: "null",
    }).outputSync();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

// Test files run at once, and simulated gateways listen on a port that is fixed: no two files may use the same addresses.

import assert from "node:assert/strict";
import { join } from "node:path";

/** Loopback networks that a file gives its benches, as [first, last] address in numbers, by their text. */
async function networksIn(path: string): Promise<Map<string, [number, number]>> {
  const found = new Map<string, [number, number]>();
  const text = await Deno.readTextFile(path);
  for (const [, address, length] of text.matchAll(/["=](127\.\d+\.\d+\.\d+)\/(\d+)"/g)) {
    const number = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
    found.set(`${address}/${length}`, [number, number + 2 ** (32 - Number(length)) - 1]);
  }
  return found;
}

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(join(folder, name));
    else if (name.endsWith(".ts")) yield join(folder, name);
  }
}

Deno.test("no two test files start benches on the same addresses", async () => {
  const folder = new URL(".", import.meta.url).pathname;
  // Measurements run alone, the settings' own tests start nothing, and moving vehicles have networks of their own to move in.
  const others = [
    "bench/",
    "config/",
    "commands/bench_description_test.ts",
    "commands/can_description_test.ts",
  ];
  const alone = [...others, "e2e/moving_vehicle_test.ts", "interop/tls_openssl_pki_test.ts"];
  const taken: { file: string; network: string; first: number; last: number }[] = [];
  for await (const path of sources(folder)) {
    const file = path.slice(folder.length);
    if (alone.some((it) => file.startsWith(it))) continue;
    for (const [network, [first, last]] of await networksIn(path)) {
      const other = taken.find((it) => it.file !== file && it.first <= last && first <= it.last);
      assert.equal(other, undefined, `${file} and ${other?.file} both use ${network}`);
      taken.push({ file, network, first, last });
    }
  }
  assert.ok(taken.length > 20, `${taken.length} networks found`);
});

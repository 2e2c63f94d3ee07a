// Which kind of executable is built: what `$DENORT_BIN` names is meant, and is not passed over in silence.

import assert from "node:assert/strict";
import { join } from "node:path";
import { temporaryFolder } from "../support/program.ts";

async function compile(runtime: string, output: string): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-P=compile", "launcher/compile.ts", "--output", output],
    env: { DENORT_BIN: runtime },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("a runtime in $DENORT_BIN that is not there, or is none, is said and nothing is built", async () => {
  await using folder = await temporaryFolder();
  const output = join(folder.path, "zonebench");
  const absent = join(folder.path, "denort");
  const nothing = await compile(absent, output);
  assert.equal(nothing.code, 1);
  assert.ok(nothing.text.includes(`Could not find denort at '${absent}'`), nothing.text);

  // Deno itself takes the program in, but what comes out is Deno.
  const other = await compile(Deno.execPath(), output);
  assert.equal(other.code, 1);
  assert.match(other.text, /what was built is not zonebench \(is \$DENORT_BIN a denort\?\)/);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(folder.path)), []);
});

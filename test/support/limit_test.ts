import assert from "node:assert/strict";
import { join } from "node:path";
import { temporaryFolder } from "./program.ts";

Deno.test("a test that does not end fails by its name and its place, and those after it run", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "endless_test.ts");
  await Deno.writeTextFile(
    file,
    `Deno.test("waits for what never comes", async (context) => {
  await context.step("in a step", () => new Promise((resolve) => setTimeout(resolve, 60_000)));
});
Deno.test({ name: "never leaves a loop", fn: () => { for (;;); } });
Deno.test("has longer", { timeout: 60_000 }, () => new Promise((resolve) => setTimeout(resolve, 2_000)));
Deno.test("comes after them", () => {});
Deno.test(function bearsItsFunctionsName() {});
`,
  );
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--no-check",
      "--allow-env",
      `--preload=${new URL("limit.ts", import.meta.url).href}`,
      file,
    ],
    env: { NO_COLOR: "1", ZONEBENCH_TEST_LIMIT: "1" },
    cwd: folder.path,
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 1, text);
  assert.match(
    text,
    /waits for what never comes => \.\/endless_test\.ts:1:\d+\nerror: Test timed out after 1000ms/,
  );
  assert.match(text, /never leaves a loop => \.\/endless_test\.ts:4:\d+\nerror: Test timed out after 1000ms/);
  assert.match(text, /has longer \.\.\. ok/);
  assert.match(text, /comes after them \.\.\. ok/);
  assert.match(text, /bearsItsFunctionsName \.\.\. ok/);
  assert.match(text, /FAILED \| 3 passed \| 2 failed/);
});

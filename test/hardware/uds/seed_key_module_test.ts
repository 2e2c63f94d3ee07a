import assert from "node:assert/strict";
import { join } from "node:path";
import { createModuleSeedKey, SeedKeyModuleError } from "../../../hardware/uds/seed_key_module.ts";
import { createSeedKey } from "../../../hardware/uds/seed_key.ts";

const seed = Uint8Array.of(0x01, 0x02, 0x03, 0x04);

/** Runs a test with a folder that holds these files. */
async function withFiles(
  files: Record<string, string | Uint8Array>,
  run: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") await Deno.writeTextFile(join(folder, name), content);
      else await Deno.writeFile(join(folder, name), content);
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a TypeScript module computes the key from seed, level and ECU, with what it imports beside it", async () => {
  await withFiles({
    "twist.ts": "export const twist = (value: number): number => value ^ 0x5a;",
    "key.ts": `import { twist } from "./twist.ts";
      export default async (seed: Uint8Array, level: number, ecu: string): Promise<Uint8Array> => {
        await Promise.resolve();
        return Uint8Array.of(...seed.map(twist), level, ecu.length);
      };`,
  }, async (folder) => {
    const seedKey = createSeedKey({ algorithm: "module", path: join(folder, "key.ts") });
    assert.deepEqual(
      await seedKey(seed, 0x11, "ECU_001"),
      Uint8Array.of(0x5b, 0x58, 0x59, 0x5e, 0x11, 7),
    );
    assert.deepEqual(seed, Uint8Array.of(1, 2, 3, 4));
  });
});

Deno.test("a module has no way out of its folder", async () => {
  await withFiles({
    "key.ts": `export default () => {
        const tries = [
          () => Deno.readTextFileSync("/etc/passwd"),
          () => Deno.env.get("HOME"),
          () => Deno.writeTextFileSync(new URL("./out", import.meta.url), ""),
          () => new Deno.Command("true").outputSync(),
          () => Deno.listen({ port: 0, hostname: "127.0.0.1" }).close(),
        ];
        return Uint8Array.from(tries, (attempt) => {
          try {
            attempt();
            return 1;
          } catch (error) {
            return error instanceof Deno.errors.NotCapable ? 0 : 2;
          }
        });
      };`,
  }, async (folder) => {
    const seedKey = createModuleSeedKey({ path: join(folder, "key.ts") });
    assert.deepEqual(await seedKey(seed, 1), new Uint8Array(5));
  });
});

const failures: { name: string; text: string; message: RegExp }[] = [
  {
    name: "no default export",
    text: "export const key = 1;",
    message: /expected a default export .*, got none/,
  },
  { name: "a default export that is no function", text: "export default 5;", message: /got number/ },
  {
    name: "a text as the key",
    text: 'export default () => "12";',
    message: /expected a Uint8Array as the key, got string/,
  },
  {
    name: "an empty key",
    text: "export default () => new Uint8Array();",
    message: /key of 1 to 255 bytes, got 0/,
  },
  { name: "a key that is too long", text: "export default () => new Uint8Array(256);", message: /got 256/ },
  {
    name: "an exception",
    text: 'export default () => { throw new Error("no such level"); };',
    message: /threw: no such level/,
  },
  { name: "a syntax error", text: "export default (", message: /cannot be loaded: / },
  {
    name: "an import from outside its folder",
    text: 'import "../../../etc/hostname.ts"; export default 1;',
    message: /cannot be loaded: /,
  },
  {
    name: "a loop",
    text: "export default () => { for (;;); };",
    message: /expected a key within 700 ms, got none/,
  },
];

for (const { name, text, message } of failures) {
  Deno.test(`a module with ${name} fails with the file's name and what it did`, async () => {
    await withFiles({ "key.ts": text }, async (folder) => {
      const path = join(folder, "key.ts");
      const timeout = name === "a loop" ? 700 : 30_000;
      await assert.rejects(
        async () => await createModuleSeedKey({ path, timeout })(seed, 1),
        (error) =>
          error instanceof SeedKeyModuleError && error.message.includes(path) && message.test(error.message),
      );
    });
  });
}

Deno.test("a file that is not there is told with its path", async () => {
  await assert.rejects(
    async () => await createModuleSeedKey({ path: "/nowhere/key.ts" })(seed, 1),
    /seed-key module \/nowhere\/key\.ts: cannot be read: /,
  );
  assert.throws(() => createModuleSeedKey({ path: "key.py" }), /expected a file \.ts, .*, got "key\.py"/);
});

/** Sections of a WebAssembly module (specification 5.5): one memory, `key`, and `alloc` where it is asked for. */
function wasm(keyBody: number[], { alloc = false } = {}): Uint8Array {
  const section = (id: number, bytes: number[]) => [id, bytes.length, ...bytes];
  const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];
  const types = [2, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f];
  const body = (code: number[]) => [code.length + 2, 0, ...code, 0x0b];
  // alloc: the address is 16 times the size asked for.
  const allocBody = [0x20, 0, 0x41, 16, 0x6c];
  return Uint8Array.from([
    0x00,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    ...section(1, types),
    ...section(3, alloc ? [2, 0, 1] : [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [
      alloc ? 3 : 2,
      ...name("memory"),
      2,
      0,
      ...name("key"),
      0,
      0,
      ...alloc ? [...name("alloc"), 0, 1] : [],
    ]),
    ...section(10, [alloc ? 2 : 1, ...body(keyBody), ...alloc ? body(allocBody) : []]),
  ]);
}

// i32.store(out, i32.load(seed) ^ 0x01010101 * level): then the length 4.
const xorWithLevel = [
  0x20,
  3,
  0x20,
  0,
  0x28,
  0,
  0,
  0x20,
  2,
  0x41,
  0x81,
  0x82,
  0x84,
  0x08,
  0x6c,
  0x73,
  0x36,
  0,
  0,
  0x41,
  4,
];

Deno.test("a WebAssembly file computes the key, with room of its own or in a page that is added", async () => {
  for (const alloc of [false, true]) {
    await withFiles({ "key.wasm": wasm(xorWithLevel, { alloc }) }, async (folder) => {
      const seedKey = createModuleSeedKey({ path: join(folder, "key.wasm") });
      assert.deepEqual(await seedKey(seed, 3), Uint8Array.of(0x02, 0x01, 0x00, 0x07));
    });
  }
});

const wasmFailures: { name: string; file: Uint8Array; message: RegExp }[] = [
  { name: "a negative length", file: wasm([0x41, 0x7f]), message: /expected the key's length, got -1/ },
  { name: "a length beyond the room", file: wasm([0x41, 0x80, 0x02]), message: /at most 255 bytes, got 256/ },
  { name: "a trap", file: wasm([0x00, 0x41, 0]), message: /threw: unreachable/ },
  { name: "an endless loop", file: wasm([0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 4]), message: /within 700 ms/ },
  { name: "other bytes", file: Uint8Array.of(1, 2, 3, 4), message: /cannot be loaded: / },
];

for (const { name, file, message } of wasmFailures) {
  Deno.test(`a WebAssembly file with ${name} fails with its name and what it did`, async () => {
    await withFiles({ "key.wasm": file }, async (folder) => {
      const timeout = name === "an endless loop" ? 700 : 30_000;
      const seedKey = createModuleSeedKey({ path: join(folder, "key.wasm"), timeout });
      await assert.rejects(
        async () => await seedKey(seed, 1),
        (error) => error instanceof SeedKeyModuleError && message.test(error.message),
      );
    });
  });
}

import assert from "node:assert/strict";
import { interopTest, peers } from "../support/peers.ts";

const decoder = new TextDecoder();

async function run(
  command: string,
  args: string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function zonebench(...args: string[]) {
  return run(Deno.execPath(), ["run", "--no-check", "-P=program", "src/main.ts", ...args]);
}

interopTest(
  "--version tells the WebAssembly files by the hashes that openssl has for them",
  [peers.openssl],
  async () => {
    const { code, stdout } = await zonebench("--version");
    assert.equal(code, 0);
    const pglite = new URL("./", import.meta.resolve("@electric-sql/pglite")).pathname;
    for (const file of ["wasm/tls.wasm", "wasm/zstd.wasm", `${pglite}pglite.wasm`, `${pglite}initdb.wasm`]) {
      const [hash] = (await run("openssl", ["dgst", "-sha256", "-r", file])).stdout.split(" ");
      const name = file.split("/").at(-1);
      assert.match(stdout, new RegExp(`^  ${name} +sha256:${hash}$`, "m"));
    }
    assert.match(stdout, /^zonebench \d+\.\d+\.\d+\n/);
    assert.ok(stdout.includes(`Deno ${Deno.version.deno}, V8 ${Deno.version.v8}, ${Deno.build.target}`));
  },
);

interopTest(
  "version --json tells the same for programs, with the commit that git names",
  [peers.git],
  async () => {
    const { stdout } = await zonebench("version", "--json");
    const told = JSON.parse(stdout);
    const { code, stdout: head } = await run("git", ["rev-parse", "HEAD"]);
    assert.equal(told.commit, code === 0 ? head.trim() : "unknown");
    assert.equal(told.kind, "source");
    assert.equal(told.deno, Deno.version.deno);
    assert.deepEqual(Object.keys(told.wasm), ["tls.wasm", "zstd.wasm", "pglite.wasm", "initdb.wasm"]);
    assert.equal((await zonebench("-V")).stdout, (await zonebench("version")).stdout);
  },
);

Deno.test("behind a command's name --version is the command's own option", async () => {
  const { code, stderr } = await zonebench("flash", "ECU_001", "/nowhere.hex", "--version", "1.0.0");
  assert.equal(code, 1);
  assert.match(stderr, /\/nowhere\.hex/);
});

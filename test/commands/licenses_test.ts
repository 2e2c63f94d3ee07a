import assert from "node:assert/strict";

const decoder = new TextDecoder();

async function licenses(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--cached-only", "-P=program", "src/main.ts", "licenses", ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("licenses lists what is shipped, with what each is part of", async () => {
  const { code, stdout } = await licenses();
  assert.equal(code, 0);
  assert.match(stdout, /^zonebench +Apache-2\.0 +program$/m);
  assert.match(stdout, /^zod +\d\S+ +MIT +npm +program$/m);
  assert.match(stdout, /^rustls +\d\S+ +Apache-2\.0 OR ISC OR MIT +crates\.io +tls\.wasm$/m);
  assert.match(stdout, /^deno +\d\S+ +MIT +runtime$/m);
  assert.doesNotMatch(stdout, /^fast-check/m);
  const all = JSON.parse((await licenses("--json")).stdout) as { name: string; parts: string[] }[];
  assert.deepEqual(all.find(({ name }) => name === "zstd")?.parts, ["zstd.wasm"]);
  assert.equal(all.length, stdout.split("\n").length - 5);
});

Deno.test("licenses NAME prints the texts in full, by name or with the version", async () => {
  const [listed] = (JSON.parse((await licenses("--json")).stdout) as { name: string; version: string }[])
    .filter(({ name }) => name === "rustls");
  const { stdout } = await licenses("rustls");
  for (const begin of ["Apache License", "ISC License", "Copyright (c) 2016 Joseph Birr-Pixton"]) {
    assert.ok(stdout.includes(begin), begin);
  }
  assert.equal((await licenses(`rustls@${listed.version}`)).stdout, stdout);
  assert.match(
    (await licenses("zonebench")).stdout,
    /^zonebench: Apache-2\.0\n[^]*Version 2\.0, January 2004/,
  );
  const [one] = (await licenses("zod", "--json")).stdout.trim().split("\n").map((it) => JSON.parse(it));
  assert.match(one.texts[0], /^MIT License/);

  const unknown = await licenses("fast-check");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /nothing of that name is shipped: fast-check/);
});

Deno.test("who has read enough of a text ends the command without a word", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--cached-only", "-P=program", "src/main.ts", "licenses", "glibc"],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await child.stdout.cancel();
  const said = await new Response(child.stderr).text();
  assert.equal((await child.status).code, 141);
  assert.doesNotMatch(said, /error/i);
});

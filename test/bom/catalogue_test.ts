// The catalogue of licences is complete and current, as far as the lock files tell.

import assert from "node:assert/strict";
import { others } from "../../bom/others.ts";
import { catalogue, readCrates, readNpm } from "../../bom/project.ts";

const rewrite = "run deno task licenses";
const names = catalogue.components.map(({ ecosystem, name, version }) => `${ecosystem}:${name}@${version}`);

Deno.test("every npm package that the program takes in is in the catalogue, and no other", async () => {
  const { shipped, all } = await readNpm();
  assert.deepEqual(names.filter((it) => it.startsWith("npm:")), [...shipped].sort(), rewrite);
  assert.ok(shipped.has("npm:zod@4.6.7") && !shipped.has("npm:fast-check@4.10.2"));
  assert.ok(shipped.size < all.size);
});

Deno.test("every crate of the lock files is in the catalogue, or known to take part in building alone", async () => {
  const crates = [...(await readCrates()).keys()].sort();
  const known = [...names.filter((it) => it.startsWith("cargo:")), ...catalogue.build_only].sort();
  assert.deepEqual(known, crates, rewrite);
  assert.ok(names.includes("cargo:rustls@0.23.46"));
  assert.equal(new Set(known).size, known.length);
});

Deno.test("what comes from no registry is in the catalogue as it is written down", () => {
  const found = catalogue.components.filter(({ ecosystem }) => ecosystem === "other");
  const without = (entries: readonly { texts: unknown }[]) => entries.map(({ texts: _, ...rest }) => rest);
  assert.deepEqual(without(found), without(others), rewrite);
});

Deno.test("every component has texts, each of them is there and says something, and none is left over", () => {
  const used = new Set<string>();
  for (const { name, license, texts, parts } of catalogue.components) {
    assert.ok(license !== "" && parts.length > 0 && texts.length > 0, name);
    for (const key of texts) used.add(key);
    // Some say in one file which of the others holds.
    assert.ok(texts.every((key) => catalogue.texts[key] !== undefined), name);
    assert.ok(texts.some((key) => catalogue.texts[key].length > 400), name);
  }
  assert.deepEqual(Object.keys(catalogue.texts).filter((key) => !used.has(key)), []);
});

Deno.test("the runtime in the catalogue is the one that runs here", () => {
  const version = (name: string) => others.find((it) => it.name === name)?.version;
  assert.equal(version("deno"), Deno.version.deno);
  assert.ok(Deno.version.v8.startsWith(`${version("v8")}-`), Deno.version.v8);
});

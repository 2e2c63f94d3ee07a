import assert from "node:assert/strict";
import { canonicalJson, CanonicalJsonError } from "../../src/codec/canonical_json.ts";

const text = (value: unknown) => new TextDecoder().decode(canonicalJson(value));

Deno.test("members are sorted by UTF-16 code units, as RFC 8785, section 3.2.3, has it", () => {
  // The RFC's own example: the values say in which order the members come.
  const value = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\ud83d\ude00": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
  };
  assert.deepEqual(text(value).match(/:"([^"]+)"/g)?.map((found) => found.slice(2, -1)), [
    "Carriage Return",
    "One",
    "Control",
    "Latin Small Letter O With Diaeresis",
    "Euro Sign",
    "Emoji: Grinning Face",
    "Hebrew Letter Dalet With Dagesh",
  ]);
});

Deno.test("strings are escaped as RFC 8785, section 3.2.2.2, has it", () => {
  // The string of the RFC's example in section 3.2.2.
  assert.equal(text('\u20ac$\u000f\nA\'B"\\\\"/'), '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"');
});

Deno.test("objects, arrays, whole numbers and booleans have no blanks and one form", () => {
  assert.equal(
    text({ b: [1, -2, 0, true, false, {}, []], a: { d: "x", c: 9007199254740991 } }),
    '{"a":{"c":9007199254740991,"d":"x"},"b":[1,-2,0,true,false,{},[]]}',
  );
  assert.equal(text(-0), "0");
});

Deno.test("what the manifest does not use is refused, with its place", () => {
  // deno-lint-ignore no-sparse-arrays -- a hole is one of the things to refuse
  const holes = [1, , 2];
  let deep: unknown = 1;
  for (let level = 0; level < 40; level++) deep = [deep];
  for (
    const [value, says] of [
      [{ a: [null] }, /^\$\.a\[0\]: .*null/],
      [0.5, /0\.5/],
      [2 ** 53, /9007199254740992/],
      [NaN, /NaN/],
      [Infinity, /Infinity/],
      [undefined, /undefined/],
      [{ a: undefined }, /\$\.a/],
      [holes, /\$\[1\]/],
      [10n, /bigint/],
      [() => 1, /function/],
      [new Date(0), /instance/],
      ["\ud800", /surrogate/],
      [{ "\udc00": 1 }, /surrogate/],
      [deep, /levels/],
    ] as [unknown, RegExp][]
  ) {
    assert.throws(
      () => canonicalJson(value),
      (error) => error instanceof CanonicalJsonError && says.test(error.message),
    );
  }
});

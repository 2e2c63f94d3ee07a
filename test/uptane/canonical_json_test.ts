// Canonical JSON by vectors that were written by hand after its definition, http://wiki.laptop.org/go/Canonical_JSON.

import assert from "node:assert/strict";
import { canonicalJson, type JsonValue } from "../../src/uptane/canonical_json.ts";

function text(value: JsonValue): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(canonicalJson(value));
}

Deno.test("values have one form, without blanks", () => {
  assert.equal(text(null), "null");
  assert.equal(text(true), "true");
  assert.equal(text(false), "false");
  assert.equal(text(0), "0");
  assert.equal(text(-0), "0");
  assert.equal(text(-17), "-17");
  assert.equal(text(9007199254740991), "9007199254740991");
  assert.equal(text([]), "[]");
  assert.equal(text({}), "{}");
  assert.equal(text([1, [null, "a"], { b: [] }]), '[1,[null,"a"],{"b":[]}]');
});

Deno.test("quotation mark and backslash are escaped, nothing else is", () => {
  assert.equal(text('a"b\\c/d'), '"a\\"b\\\\c/d"');
  assert.deepEqual(canonicalJson("\n\t\u0000\u007f"), Uint8Array.of(0x22, 0x0a, 0x09, 0x00, 0x7f, 0x22));
  assert.deepEqual(canonicalJson("ü€😀"), Uint8Array.fromHex("22c3bce282acf09f988022"));
  assert.equal(text({ 'k"': 1 }), '{"k\\"":1}');
});

Deno.test("names stand in the order of their code points", () => {
  assert.equal(text({ b: 1, a: 2, B: 3, aa: 4, "": 5, ä: 6 }), '{"":5,"B":3,"a":2,"aa":4,"b":1,"ä":6}');
  // U+FF5E comes before U+1F600, whose first UTF-16 unit, D83D, is lower.
  assert.equal(text({ "\u{1f600}": 1, "\uff5e": 2 }), '{"\uff5e":2,"\u{1f600}":1}');
  // Names that look like numbers are names.
  assert.equal(text({ 10: 1, 9: 2 }), '{"10":1,"9":2}');
});

Deno.test("what has no canonical form is refused", () => {
  let deep: JsonValue = 1;
  for (let level = 0; level < 40; level++) deep = [deep];
  for (const value of [0.5, 2 ** 53, NaN, Infinity, "\ud800", { "\udc00": 1 }, deep]) {
    assert.throws(() => canonicalJson(value), RangeError);
  }
});

// The reader of signed JSON: what it takes, and all that it refuses because it could be read in two ways.

import assert from "node:assert/strict";
import { JsonReadError, readJson } from "../../src/uptane/json_reader.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("JSON is read as it is written", () => {
  const value = readJson(
    bytes(' {"a" : [1,-2,0, true,false ,null],\r\n\t"b":{"c":"\\u00fc\\n\\"\\/\\ud83d\\ude00é"}} '),
  );
  assert.equal(JSON.stringify(value), '{"a":[1,-2,0,true,false,null],"b":{"c":"ü\\n\\"/😀é"}}');
});

Deno.test("a member named __proto__ is a member", () => {
  const value = readJson(bytes('{"__proto__":{"x":1},"constructor":2}'));
  assert.deepEqual(Object.keys(Object(value)), ["__proto__", "constructor"]);
  assert.equal(Object.getPrototypeOf(value), null);
  assert.equal(Object.hasOwn({}, "x"), false);
});

Deno.test("what is not JSON, or is not one thing only, is refused with its place", () => {
  for (
    const [text, reason, at] of [
      ["", /expected a value, got the end/, 0],
      ["{}x", /expected the end, got "x"/, 2],
      ['{"a":1,"a":2}', /expected each name once, got "a" twice/, 7],
      ['{"a":1,"\\u0061":2}', /expected each name once, got "a" twice/, 7],
      ["[1.5]", /whole number up to 2\^53 − 1, got 1\.5/, 1],
      ["[1.0]", /whole number/, 1],
      ["[1e3]", /whole number/, 1],
      ["[9007199254740992]", /whole number/, 1],
      ["[-0]", /whole number/, 1],
      ["[01]", /expected "\]", got "1"/, 2],
      ["[+1]", /expected a value, got "\+"/, 1],
      ["[NaN]", /expected a value, got "N"/, 1],
      ["[Infinity]", /expected a value/, 1],
      ["[nul]", /expected a value/, 1],
      ["[1,]", /expected a value, got "\]"/, 3],
      ['{"a":1,}', /expected a name, got "}"/, 7],
      ["{a:1}", /expected a name/, 1],
      ['{"a" 1}', /expected ":"/, 5],
      ['"a', /rest of a string, got the end/, 2],
      ['"a\nb"', /rest of a string/, 2],
      ['"\\x"', /expected an escape/, 3],
      ['"\\u12g4"', /four hexadecimal digits/, 3],
      ['"\\ud800"', /lone surrogate/, 0],
      ['"u\\u0308"', /Normalization Form C/, 0],
      ["\ufeff{}", /expected a value/, 0],
      ["// no\n{}", /expected a value/, 0],
    ] as const
  ) {
    assert.throws(
      () => readJson(bytes(text)),
      (error) => error instanceof JsonReadError && reason.test(error.message) && error.at === at,
      text,
    );
  }
  assert.throws(() => readJson(Uint8Array.of(0x22, 0xff, 0x22)), /UTF-8/);
});

Deno.test("depth and number of values have limits", () => {
  const nested = (depth: number) => bytes("[".repeat(depth) + "]".repeat(depth));
  readJson(nested(25));
  assert.throws(() => readJson(nested(26)), /at most 24 levels/);
  assert.throws(() => readJson(nested(1_000_000)), /at most 24 levels/);
  readJson(bytes("[1,2]"), { values: 3 });
  assert.throws(() => readJson(bytes("[1,2,3]"), { values: 3 }), /fewer values/);
  readJson(bytes("[[]]"), { depth: 1 });
  assert.throws(() => readJson(bytes("[[[]]]"), { depth: 1 }), /at most 1 levels/);
});

// Where malformed JSON breaks, and how deep it may be.

import assert from "node:assert/strict";
import { JsonTextError, maxDepth, parseJson } from "../../src/server/json_text.ts";

const parse = (text: string) => parseJson(new TextEncoder().encode(text));

Deno.test("well-formed JSON parses as JSON.parse says", () => {
  const texts = ['{"a":[1,-2.5e3,true,null,"\\u00e9\\n"]}', " [ ] ", '"x"', "0", '{"":{}}', '"\u{1f600}"'];
  for (const text of texts) assert.deepEqual(parse(text), JSON.parse(text), text);
});

Deno.test("malformed JSON is refused with line and column", () => {
  const cases: [text: string, line: number, column: number][] = [
    ['{"a":1,}', 1, 8],
    ['{"a" 1}', 1, 6],
    ["[1,\n 2,\n x]", 3, 2],
    ['{"a":', 1, 6],
    ["", 1, 1],
    ['["abc', 1, 6],
    ["[1 2]", 1, 4],
    ["{} {}", 1, 4],
    ["[1]]", 1, 4],
    ["[1}", 1, 3],
    ["{1:2}", 1, 2],
    ["01", 1, 1],
    ["nul", 1, 1],
    ['"\t"', 1, 1],
  ];
  for (const [text, line, column] of cases) {
    assert.throws(() => parse(text), (error) => {
      assert.ok(error instanceof JsonTextError);
      assert.deepEqual(
        [error.line, error.column],
        [line, column],
        `${JSON.stringify(text)}: ${error.message}`,
      );
      return true;
    });
  }
});

Deno.test("nesting beyond the limit is refused before it is parsed; brackets in strings do not count", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  parse(nested(maxDepth));
  assert.throws(() => parse(nested(maxDepth + 1)), /at most 64 levels/);
  assert.throws(() => parse("[".repeat(1_000_000)), JsonTextError);
  parse(JSON.stringify("[".repeat(1000) + '"\\'));
});

Deno.test("bytes that are no UTF-8 are refused", () => {
  assert.throws(() => parseJson(new Uint8Array([0x22, 0xff, 0x22])), JsonTextError);
});

// Range and conditional requests by the examples and rules of RFC 9110 sections 13 and 14.

import assert from "node:assert/strict";
import { decideRange } from "../../../src/server/http/byte_range.ts";

const etag = '"abc"';
const get = (fields: Record<string, string>) => decideRange({ method: "GET", ...fields }, etag, 10_000);

Deno.test("a single range is answered with its bytes (RFC 9110 section 14.1.2)", () => {
  assert.deepEqual(get({ range: "bytes=0-499" }), { status: 206, range: { first: 0, last: 499 } });
  assert.deepEqual(get({ range: "bytes=500-999" }), { status: 206, range: { first: 500, last: 999 } });
  assert.deepEqual(get({ range: "bytes=-500" }), { status: 206, range: { first: 9500, last: 9999 } });
  assert.deepEqual(get({ range: "bytes=9500-" }), { status: 206, range: { first: 9500, last: 9999 } });
  assert.deepEqual(get({ range: "bytes=9999-20000" }), { status: 206, range: { first: 9999, last: 9999 } });
  assert.deepEqual(get({ range: "bytes=-20000" }), { status: 206, range: { first: 0, last: 9999 } });
  assert.deepEqual(get({ range: "bytes= 0-0" }), { status: 206, range: { first: 0, last: 0 } });
});

Deno.test("a range beyond the end cannot be satisfied (section 15.5.17)", () => {
  assert.deepEqual(get({ range: "bytes=10000-" }), { status: 416 });
  assert.deepEqual(get({ range: "bytes=-0" }), { status: 416 });
  assert.deepEqual(get({ range: "bytes=10000-10001, 20000-" }), { status: 416 });
});

Deno.test("what is malformed, of another unit or of several ranges is answered whole (section 14.2)", () => {
  for (
    const range of [
      "bytes=5-4",
      "bytes=a-b",
      "bytes=",
      "bytes=-",
      "lines=1-2",
      "0-499",
      "bytes=0-1,5-6",
      "bytes=1-2-3",
    ]
  ) assert.deepEqual(get({ range }), { status: 200 }, range);
  const many = `bytes=${Array.from({ length: 200 }, (_, i) => `${i}-${i}`).join(",")}`;
  assert.deepEqual(get({ range: many }), { status: 200 });
});

Deno.test("a list of which one range can be satisfied is that range", () => {
  assert.deepEqual(get({ range: "bytes=20000-, 1-2" }), { status: 206, range: { first: 1, last: 2 } });
});

Deno.test("If-Range compares strongly; anything else gives the whole (section 13.1.5)", () => {
  const range = "bytes=0-1";
  assert.equal(get({ range, ifRange: '"abc"' }).status, 206);
  assert.equal(get({ range, ifRange: '"other"' }).status, 200);
  assert.equal(get({ range, ifRange: 'W/"abc"' }).status, 200);
  assert.equal(get({ range, ifRange: "Sat, 29 Oct 1994 19:43:31 GMT" }).status, 200);
});

Deno.test("If-None-Match compares weakly and comes before the range (sections 13.1.2, 13.2.2)", () => {
  assert.equal(get({ ifNoneMatch: '"abc"' }).status, 304);
  assert.equal(get({ ifNoneMatch: 'W/"abc"' }).status, 304);
  assert.equal(get({ ifNoneMatch: '"x", "abc"', range: "bytes=0-1" }).status, 304);
  assert.equal(get({ ifNoneMatch: "*" }).status, 304);
  assert.equal(get({ ifNoneMatch: '"x"' }).status, 200);
});

Deno.test("If-Match compares strongly (section 13.1.1)", () => {
  assert.equal(get({ ifMatch: '"abc"' }).status, 200);
  assert.equal(get({ ifMatch: "*" }).status, 200);
  assert.equal(get({ ifMatch: 'W/"abc"' }).status, 412);
  assert.equal(get({ ifMatch: '"x"' }).status, 412);
});

Deno.test("Range has no meaning for HEAD (section 14.2)", () => {
  assert.deepEqual(decideRange({ method: "HEAD", range: "bytes=0-1" }, etag, 10), { status: 200 });
});

import assert from "node:assert/strict";
import { LineTime } from "../../../hardware/sim/line_time.ts";

/** A line whose clock the test sets. */
function line(): { line: LineTime; at(time: number): LineTime } {
  let now = 0;
  const line = new LineTime({ now: () => now, after: () => () => {} });
  return {
    line,
    at(time) {
      now = time;
      return line;
    },
  };
}

Deno.test("what is booked together follows one after the other", () => {
  const { line: free } = line();
  assert.deepEqual([free.book(0.25), free.book(0.25), free.book(0.5)], [0.25, 0.5, 1]);
});

Deno.test("what follows a late release at once loses none of the line's time", () => {
  const { at } = line();
  const due = at(0).book(0.25);
  at(2.25).released(due);
  assert.equal(at(2.3).book(0.25), 0.5, "the line had been free since 0.25");
});

Deno.test("what follows a late release later is late by its own delay alone", () => {
  const { at } = line();
  const due = at(0).book(0.25);
  at(2.25).released(due);
  assert.equal(at(4.25).book(0.25), 2.5, "2 ms after the release, which was due at 0.25");
});

Deno.test("a line that was idle begins now", () => {
  const { at } = line();
  const due = at(0).book(0.25);
  at(2.25).released(due);
  assert.equal(at(200).book(0.25), 200.25);
  assert.equal(at(500).book(0.25), 500.25);
});

Deno.test("what a stop of the whole machine cost is made up for within a bound", () => {
  const { at } = line();
  const due = at(0).book(0.25);
  at(5000.25).released(due);
  assert.equal(at(5000.25).book(0.25), 4900.5);
});

Deno.test("what stood ready while the line was busy follows at once, however late it is booked", () => {
  const { at } = line();
  const due = at(0).book(10);
  at(10).released(due);
  assert.equal(at(25).book(0.25, 4), 10.25, "ready at 4, the line free at 10");
  assert.equal(at(25).book(0.25, 20), 20.25, "the line idle until 20");
  assert.equal(at(5000).book(0.25, 30), 4900.25, "a stop of the machine is made up for within a bound");
});

Deno.test("how far a line is past an instant tells what else may go", () => {
  const { at } = line();
  assert.equal(at(7).past(4), 3);
  assert.equal(at(7).past(9), -2);
  assert.equal(at(7).wait(9), 2);
  assert.equal(at(7).wait(4), 0);
});

// The queue of outgoing messages: order, bounds, and what survives the program.

import assert from "node:assert/strict";
import FakeTimers from "@sinonjs/fake-timers";
import { type MessageKind, Outbox, type OutboxOptions } from "../../../src/vmg/link/outbox.ts";
import { StateDatabase } from "../../../src/vmg/state/database.ts";

async function withFolder(test: (open: (options?: OutboxOptions) => Opened) => void): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vmg-outbox-" });
  const opened: Opened[] = [];
  try {
    test((options) => {
      for (const { close } of opened.splice(0)) close();
      const state = StateDatabase.open(directory);
      const outbox = new Outbox(state, options);
      let closed = false;
      const close = () => {
        if (!closed) {
          outbox.flush();
          state.close();
        }
        closed = true;
      };
      opened.push({ outbox, state, close });
      return { outbox, state, close };
    });
  } finally {
    for (const { close } of opened) close();
    await Deno.remove(directory, { recursive: true });
  }
}

interface Opened {
  outbox: Outbox;
  state: StateDatabase;
  close: () => void;
}

function add(outbox: Outbox, number: number, kind: MessageKind = "telemetry", slot?: string) {
  return outbox.add({ topic: "t", payload: { number }, kind, ...(slot === undefined ? {} : { slot }) });
}

/** Takes all and gives back the numbers, in order. */
function numbers(outbox: Outbox): number[] {
  return outbox.take(1_000).map(({ payload }) => JSON.parse(payload).number);
}

Deno.test("messages come in order and each carries its id", async () => {
  await withFolder((open) => {
    const { outbox } = open();
    const ids = [1, 2, 3].map((number) => add(outbox, number));
    const taken = outbox.take(10);
    assert.deepEqual(taken.map(({ payload }) => JSON.parse(payload)), [
      { number: 1, message_id: ids[0] },
      { number: 2, message_id: ids[1] },
      { number: 3, message_id: ids[2] },
    ]);
    assert.deepEqual(taken.map(({ messageId }) => messageId), ids);
    assert.deepEqual(outbox.take(10), [], "what is under way is not taken twice");
  });
});

Deno.test("what was not acknowledged survives the program and comes again with the same id", async () => {
  await withFolder((open) => {
    const first = open().outbox;
    const ids = [1, 2, 3, 4].map((number) => add(first, number));
    const [one, , three] = first.take(3);
    first.acknowledge(one.seq);
    first.acknowledge(three.seq);
    const second = open().outbox;
    assert.equal(second.count, 2);
    assert.deepEqual(second.take(10).map(({ messageId }) => messageId), [ids[1], ids[3]]);
  });
});

Deno.test("after a lost connection messages keep their places and are marked as repeated", async () => {
  await withFolder((open) => {
    const { outbox } = open();
    [1, 2, 3].forEach((number) => add(outbox, number));
    outbox.release(outbox.take(2).map(({ seq }) => seq));
    assert.deepEqual(
      outbox.take(3).map(({ payload, repeated }) => [JSON.parse(payload).number, repeated]),
      [[1, true], [2, true], [3, false]],
    );
  });
});

Deno.test("a newer message takes the place of one in the same slot unless that is under way", async () => {
  await withFolder((open) => {
    const { outbox } = open();
    add(outbox, 1, "progress", "a");
    add(outbox, 2, "progress", "a");
    add(outbox, 3, "progress", "b");
    const underWay = outbox.take(10);
    assert.deepEqual(underWay.map(({ payload }) => JSON.parse(payload).number), [2, 3]);
    add(outbox, 4, "progress", "a");
    outbox.release(underWay.map(({ seq }) => seq));
    assert.deepEqual(numbers(outbox), [2, 3, 4]);
  });
});

Deno.test("when there is no room, telemetry goes first, then progress, then answers; ends stay", async () => {
  await withFolder((open) => {
    const { outbox } = open({ maxCount: 4 });
    add(outbox, 1, "final");
    add(outbox, 2, "answer");
    add(outbox, 3, "progress");
    add(outbox, 4, "telemetry");
    add(outbox, 5, "telemetry");
    assert.equal(outbox.dropped, 1);
    add(outbox, 6, "answer");
    add(outbox, 7, "final");
    add(outbox, 8, "final");
    assert.equal(add(outbox, 9, "telemetry"), undefined, "nothing that waits matters less");
    assert.deepEqual(numbers(outbox), [1, 6, 7, 8]);
    assert.equal(outbox.dropped, 5);
  });
});

Deno.test("the bound in bytes holds, also for a message that is larger than all of it", async () => {
  await withFolder((open) => {
    const { outbox } = open({ maxBytes: 300 });
    const big = (number: number) =>
      outbox.add({ topic: "t", payload: { number, text: "x".repeat(40) }, kind: "telemetry" });
    for (let number = 1; number <= 10; number++) big(number);
    const left = numbers(outbox);
    assert.equal(left.at(-1), 10);
    assert(left.length < 4 && left.length > 0, `${left}`);
    assert.equal(outbox.add({ topic: "t", payload: { text: "x".repeat(400) }, kind: "final" }), undefined);
  });
});

Deno.test("a message whose transaction came to nothing is not counted: the bounds hold for what is there", async () => {
  await withFolder((open) => {
    const { outbox, state } = open({ maxCount: 3 });
    add(outbox, 1);
    for (let times = 0; times < 3; times++) {
      assert.throws(() =>
        state.transaction(() => {
          add(outbox, 10);
          throw new Error("disk full");
        }), /disk full/);
    }
    assert.equal(outbox.count, 1);
    add(outbox, 2);
    add(outbox, 3);
    assert.equal(outbox.dropped, 0);
    assert.deepEqual(numbers(outbox), [1, 2, 3]);
  });
});

Deno.test("what the server has and the disk cannot delete is told, tried again, and not sent meanwhile", async () => {
  const faults: unknown[] = [];
  const directory = await Deno.makeTempDir({ prefix: "vmg-outbox-" });
  const state = StateDatabase.open(directory);
  const clock = FakeTimers.install({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const outbox = new Outbox(state, { onFault: (error) => faults.push(error) });
    add(outbox, 1);
    add(outbox, 2);
    const [{ seq }] = outbox.take(1);
    state.sqlite.exec("PRAGMA query_only = ON");
    outbox.acknowledge(seq);
    clock.tick(100);
    assert.equal(faults.length, 1);
    assert.match(String(faults[0]), /readonly/);
    assert.equal(outbox.count, 1);
    assert.deepEqual(numbers(outbox), [2]);
    state.sqlite.exec("PRAGMA query_only = OFF");
    clock.tick(1_000);
    assert.deepEqual(state.sqlite.prepare("SELECT count(*) AS n FROM outbox").get()?.n, 1);
    assert.equal(outbox.count, 1);
  } finally {
    clock.uninstall();
    state.close();
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a message that the disk has damaged is of no use, and holds up no other", async () => {
  await withFolder((open) => {
    const { outbox, state } = open();
    for (const number of [1, 2, 3]) add(outbox, number);
    state.sqlite.exec("UPDATE outbox SET payload = substr(payload, 3) WHERE seq = 2");
    assert.deepEqual(numbers(open().outbox), [1, 3]);
  });
});

Deno.test("a message that is under way is not dropped for another", async () => {
  await withFolder((open) => {
    const { outbox } = open({ maxCount: 2 });
    add(outbox, 1);
    add(outbox, 2);
    const underWay = outbox.take(1);
    add(outbox, 3);
    outbox.release(underWay.map(({ seq }) => seq));
    assert.deepEqual(numbers(outbox), [1, 3]);
  });
});

Deno.test("how an update ended is taken in also when all the room is under way", async () => {
  await withFolder((open) => {
    const { outbox } = open({ maxCount: 2 });
    add(outbox, 1);
    add(outbox, 2);
    const underWay = outbox.take(2);
    assert.equal(add(outbox, 3, "answer"), undefined);
    assert.notEqual(add(outbox, 4, "final"), undefined);
    outbox.release(underWay.map(({ seq }) => seq));
    assert.deepEqual(numbers(outbox), [1, 2, 4]);
  });
});

Deno.test("what has waited for too long goes, except how an update ended and what is under way", async () => {
  await withFolder((open) => {
    const { outbox } = open({ maxAge: 60_000 });
    add(outbox, 1, "telemetry");
    const [first] = outbox.take(1);
    add(outbox, 2, "telemetry");
    add(outbox, 3, "answer");
    add(outbox, 4, "final");
    assert.equal(outbox.expire(Date.now() + 59_000), 0);
    assert.equal(outbox.expire(Date.now() + 61_000), 2);
    outbox.release([first.seq]);
    assert.deepEqual(numbers(outbox), [1, 4]);
    assert.deepEqual([outbox.count, outbox.dropped], [2, 2]);
  });
});

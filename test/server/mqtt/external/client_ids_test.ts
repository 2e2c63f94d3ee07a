// Which client ids a server holds, with a store that fails when the test wants it.

import assert from "node:assert/strict";
import { createLogger } from "../../../../src/log.ts";
import { ClientIds, shortId } from "../../../../src/server/mqtt/external/client_ids.ts";
import type { BrokerClients } from "../../../../src/server/store/broker_clients.ts";

const random = "0123456789abcdef0123456789abcdef";

/** What was asked of the store, and what it says. */
function start() {
  const asked: string[] = [];
  const state = {
    away: false,
    slow: { take: Promise.resolve(), prolong: Promise.resolve() },
    kept: new Set([`s-1-${random}`, `s-2-${random}`]),
  };
  const answer = <T>(what: string, value: T): Promise<T> => {
    asked.push(what);
    return state.away ? Promise.reject(new Error("the database is away")) : Promise.resolve(value);
  };
  const store: Pick<BrokerClients, "take" | "takeAbandoned" | "prolong" | "release" | "forget"> = {
    take: () => answer("take", `s-1-${random}`),
    takeAbandoned: async () => {
      const found = await answer("takeAbandoned", { clientId: `s-2-${random}`, shareGroup: "old" });
      await state.slow.take;
      return found;
    },
    prolong: async (ids) => {
      const kept = new Set(ids.filter((id) => state.kept.has(id)));
      await answer(`prolong ${ids.map(shortId)}`, kept);
      await state.slow.prolong;
      return kept;
    },
    release: (id) => answer(`release ${shortId(id)}`, undefined),
    forget: (id) => answer(`forget ${shortId(id)}`, undefined),
  };
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line), color: false });
  const ids = new ClientIds({ store, name: "s", holder: "h", lease: 40, log });
  return { ids, asked, state, lines };
}

Deno.test("an id that another server has taken meanwhile is lost at once, without its random digits in the log", async () => {
  const { ids, state, lines } = start();
  const own = await ids.take("g");
  const other = await ids.takeAbandoned();
  await ids.prolong();
  assert.ok(!own.lost.aborted && !other?.lost.aborted);
  state.kept.delete(own.clientId);
  await ids.prolong();
  assert.ok(own.lost.aborted);
  assert.ok(!other?.lost.aborted);
  assert.match(lines.join("\n"), /client id s-1 is this server's no longer/);
  assert.ok(!lines.join("\n").includes(random));
});

Deno.test("an id that is taken while others are prolonged is not lost for that", async () => {
  const { ids, state } = start();
  await ids.take("g");
  const [take, prolong] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  state.slow = { take: take.promise, prolong: prolong.promise };
  const taking = ids.takeAbandoned();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const prolonging = ids.prolong();
  take.resolve();
  const other = await taking;
  prolong.resolve();
  await prolonging;
  assert.ok(other && !other.lost.aborted);
});

Deno.test("while the database is away an id is held for its time and no longer", async () => {
  const { ids, state } = start();
  const own = await ids.take("g");
  state.away = true;
  await ids.prolong();
  assert.ok(!own.lost.aborted);
  await new Promise((resolve) => setTimeout(resolve, 60));
  await ids.prolong();
  assert.ok(own.lost.aborted);
});

Deno.test("an id that could not be given back is not prolonged, and given back before the next is taken", async () => {
  const { ids, asked, state } = start();
  const own = await ids.take("g");
  state.away = true;
  await assert.rejects(ids.release(own.clientId), /the database is away/);
  await ids.prolong();
  await assert.rejects(ids.take("g"), /the database is away/);
  state.away = false;
  await ids.take("g");
  assert.deepEqual(asked, ["take", "release s-1", "release s-1", "release s-1", "take"]);
});

Deno.test("a name that does not do for a client id is refused", () => {
  for (const name of ["", "a b", "a/b", "#"]) {
    assert.throws(() => makeNamed(name), /clientId: expected 1 to 40/, name);
  }
});

function makeNamed(name: string): ClientIds {
  const never = () => Promise.reject(new Error("nothing is asked"));
  return new ClientIds({
    store: {
      take: never,
      takeAbandoned: never,
      prolong: never,
      release: never,
      forget: never,
    },
    name,
    holder: "h",
    lease: 1,
    log: createLogger({ write: () => {} }),
  });
}

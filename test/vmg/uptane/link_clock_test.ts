// The clock of the gateway's connections where the machine's is wrong: a server whose certificate is good for a while alone is met at
// a time within it.

import assert from "node:assert/strict";
import { silentLogger } from "../../../src/log.ts";
import { CertificateExpired, CertificateNotYetValid, ConnectionFailed } from "../../../src/tls/errors.ts";
import { LinkClock } from "../../../src/vmg/uptane/link_clock.ts";

const at = (text: string) => new Date(`${text}T00:00:00Z`).getTime();
const own = { notBefore: new Date(at("2020-01-01")), notAfter: new Date(at("2030-01-01")) };
const expired = new CertificateExpired("ended");

/** A server whose certificate is good between two times, and that says that it is `now`. */
function clockOf(
  good: readonly [number, number],
  now: number,
  more: { latest?: Date; machine?: () => number } = {},
) {
  const guesses: number[] = [];
  const clocks = new Set<() => number>();
  const clock = new LinkClock({
    validity: own,
    latest: () => more.latest,
    machine: more.machine,
    attest: (by) => {
      clocks.add(by);
      const guess = by();
      guesses.push(guess);
      if (guess > good[1]) return Promise.reject(expired);
      if (guess < good[0]) return Promise.reject(new CertificateNotYetValid("begins later"));
      return Promise.resolve(new Date(now));
    },
    log: silentLogger,
  });
  return { clock, guesses, clocks };
}

Deno.test("the machine's clock is kept while nothing fails for the time", async () => {
  const { clock, guesses } = clockOf([at("2026-01-01"), at("2026-03-01")], at("2026-02-01"));
  clock.failed(new ConnectionFailed("no route"));
  await clock.stop();
  assert.equal(clock.clock, undefined);
  assert.deepEqual(guesses, []);
});

for (
  const [what, begins, ends] of [["60 days", "2026-01-01", "2026-03-01"], [
    "a day",
    "2027-05-05",
    "2027-05-06",
  ]]
) {
  Deno.test(`a certificate that is good for ${what} is found within ten years, and the clock goes on from the attested time`, async () => {
    let machine = at("1999-01-01");
    const now = at(begins) + 1_000;
    const { clock, guesses } = clockOf([at(begins), at(ends)], now, { machine: () => machine });
    clock.failed(expired);
    clock.failed(expired); // One search at a time.
    while (clock.clock?.() !== now) await Promise.resolve();
    assert.ok(guesses.length <= 14, `${guesses.length} guesses`);
    machine += 5_000;
    assert.equal(clock.clock?.(), now + 5_000);
    await clock.stop();
  });
}

Deno.test("no guess is before the latest time that was attested, which is the first", async () => {
  const latest = new Date(at("2026-02-01"));
  const { clock, guesses } = clockOf([at("2026-01-15"), at("2026-12-01")], at("2026-02-10"), { latest });
  clock.failed(expired);
  while (clock.clock === undefined) await Promise.resolve();
  assert.deepEqual(guesses, [latest.getTime()]);
  await clock.stop();
});

Deno.test("a certificate that is good at no possible time is given up", async () => {
  const { clock, guesses } = clockOf([at("2010-01-01"), at("2011-01-01")], at("2010-06-01"));
  clock.failed(expired);
  await clock.stop();
  assert.equal(clock.clock, undefined);
  assert.deepEqual(guesses, [own.notBefore.getTime()]);
});

Deno.test("all searches guess with one clock, for which the TLS engine keeps what it needs", async () => {
  const good = [at("2026-01-01"), at("2026-03-01")] as const;
  const { clock, guesses, clocks } = clockOf(good, at("2026-02-01"), { machine: () => at("1999-01-01") });
  const found = new Set<unknown>();
  for (let search = 0; search < 3; search++) {
    const before = guesses.length;
    clock.failed(expired);
    while (guesses.length === before || guesses.at(-1)! < good[0] || guesses.at(-1)! > good[1]) {
      await Promise.resolve();
    }
    while (clock.clock?.() !== at("2026-02-01")) await Promise.resolve();
    // The search has ended when another may begin.
    await new Promise((resolve) => setTimeout(resolve, 0));
    found.add(clock.clock);
  }
  assert.ok(guesses.length > 6);
  assert.equal(clocks.size, 1);
  assert.equal(found.size, 1);
  await clock.stop();
});

Deno.test("a search that can find nothing is not made again with each connection that fails", async () => {
  const { clock, guesses } = clockOf([at("2010-01-01"), at("2011-01-01")], at("2010-06-01"));
  for (let tries = 0; tries < 5; tries++) {
    clock.failed(expired);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert.equal(guesses.length, 1);
  await clock.stop();
});

// Who may sign which image in the Image repository: order, ends and bounds of the search, and delegations that are abused.

import assert from "node:assert/strict";
import type { DelegationRequest } from "../../../src/uptane/author.ts";
import type { Target } from "../../../src/uptane/models.ts";
import { matches } from "../../../src/uptane/verify/delegations.ts";
import { verifyRepository } from "../../../src/uptane/verify/image_repository.ts";
import { Bench, directedTo, image, inDays, now, refused, signers } from "../fake_repositories.ts";

/** A bench whose Director wants `supplier/1.bin`. */
async function benchWith(
  delegations: DelegationRequest[],
  roles: (bench: Bench) => Promise<void>,
  targets: Record<string, Target> = {},
): Promise<Bench> {
  const bench = await Bench.make();
  await roles(bench);
  await bench.publish(targets, delegations);
  await bench.direct({ "supplier/1.bin": directedTo(image("supplied"), "ECU_001") });
  return bench;
}

const [keyA, keyB, keyC] = await signers(3);
const supplied = { "supplier/1.bin": image("supplied") };
const to = (name: string, signer = keyA, more: Partial<DelegationRequest> = {}): DelegationRequest => ({
  name,
  paths: ["supplier/*"],
  keys: [signer.key],
  ...more,
});

Deno.test("an image is found in the role that it was delegated to, and the plan says so", async () => {
  const bench = await benchWith(
    [to("supplier")],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied),
  );
  const { targets } = await bench.verify();
  assert.deepEqual(targets.map(({ imageRole }) => imageRole), ["supplier"]);
  bench.fetched.length = 0;
  await bench.verify();
  assert.ok(!bench.fetched.some((it) => it.includes("supplier")), "it was there already");
});

Deno.test("an image is found two delegations down, with the keys that the middle role names", async () => {
  const bench = await benchWith([to("supplier")], async ({ image: side }) => {
    await side.writeDelegated("supplier", [keyA], {}, { delegations: [to("plant", keyB)] });
    await side.writeDelegated("plant", [keyB], supplied);
  });
  assert.equal((await bench.verify()).targets[0].imageRole, "plant");
});

Deno.test("the first delegation that has the image is the one that counts", async () => {
  const bench = await benchWith([to("first"), to("second", keyB)], async ({ image: side }) => {
    await side.writeDelegated("first", [keyA], { "supplier/1.bin": image("another") });
    await side.writeDelegated("second", [keyB], supplied);
  });
  await refused(bench.verify(), "match_non_custom", "arbitrary software");
});

Deno.test("a role's own word goes before what it delegates", async () => {
  const bench = await benchWith(
    [to("supplier")],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], { "supplier/1.bin": image("another") }),
    supplied,
  );
  assert.equal((await bench.verify()).targets[0].imageRole, "targets");
});

Deno.test("a search goes on after a delegation without the image, and ends after a terminating one", async () => {
  for (const terminating of [false, true]) {
    const bench = await benchWith(
      [to("first", keyA, { terminating }), to("second", keyB)],
      async ({ image: side }) => {
        await side.writeDelegated("first", [keyA], {});
        await side.writeDelegated("second", [keyB], supplied);
      },
    );
    if (terminating) await refused(bench.verify(), "delegation_resolved", "arbitrary software");
    else assert.equal((await bench.verify()).targets[0].imageRole, "second");
  }
});

Deno.test("a terminating delegation deep down ends the whole search", async () => {
  const bench = await benchWith([to("first"), to("second", keyB)], async ({ image: side }) => {
    await side.writeDelegated("first", [keyA], {}, { delegations: [to("end", keyC, { terminating: true })] });
    await side.writeDelegated("end", [keyC], {});
    await side.writeDelegated("second", [keyB], supplied);
  });
  await refused(bench.verify(), "delegation_resolved", "arbitrary software");
});

Deno.test("abuse: a role that signs an image outside its paths is not asked", async () => {
  const bench = await benchWith(
    [to("supplier", keyA, { paths: ["other/*"] })],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied),
  );
  await refused(bench.verify(), "delegation_resolved", "arbitrary software");
});

Deno.test("abuse: a role is not asked about hardware that it is not for", async () => {
  for (const [hardwareIds, found] of [[["1.0", "2.0"], true], [["2.0"], false]] as const) {
    const bench = await benchWith(
      [to("supplier", keyA, { hardwareIds })],
      ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied),
    );
    if (found) assert.equal((await bench.verify()).targets.length, 1);
    else await refused(bench.verify(), "delegation_resolved", "arbitrary software");
  }
});

Deno.test("abuse: a role that another role's key signed is refused, and nobody is asked after it", async () => {
  const bench = await benchWith([to("supplier"), to("other", keyB)], async ({ image: side }) => {
    await side.writeDelegated("supplier", [keyB], supplied);
    await side.writeDelegated("other", [keyB], supplied);
  });
  await refused(bench.verify(), "targets_signed", "arbitrary software");
});

Deno.test("abuse: one key of two is not enough for a delegated role", async () => {
  const bench = await benchWith(
    [to("supplier", keyA, { keys: [keyA.key, keyB.key], threshold: 2 })],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied),
  );
  await refused(bench.verify(), "targets_signed", "arbitrary software");
});

Deno.test("freeze and rollback: a delegated role that has expired, or is older, is refused", async () => {
  const expired = await benchWith(
    [to("supplier")],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied, { expires: now }),
  );
  await refused(expired.verify(), "targets_expiry", "freeze");
  const older = await benchWith(
    [to("supplier")],
    ({ image: side }) => side.writeDelegated("supplier", [keyA], supplied, { version: 7 }),
  );
  await older.verify();
  await older.image.writeDelegated("supplier", [keyA], supplied, { version: 6 });
  await older.image.release();
  await refused(older.verify(), "snapshot_targets_rollback", "rollback");
});

Deno.test("drop request: a delegated role that is not given out is not passed over", async () => {
  const bench = await benchWith([to("supplier"), to("other", keyB)], async ({ image: side }) => {
    await side.writeDelegated("supplier", [keyA], supplied);
    await side.writeDelegated("other", [keyB], supplied);
  });
  bench.intercept = ({ role }) => role === "supplier" ? null : undefined;
  await refused(bench.verify(), "metadata_present", "drop request");
});

Deno.test("endless data: roles that delegate in a circle end the search", async () => {
  const bench = await benchWith([to("a")], async ({ image: side }) => {
    await side.writeDelegated("a", [keyA], {}, { delegations: [to("b", keyB)] });
    await side.writeDelegated("b", [keyB], {}, { delegations: [to("a")] });
  });
  await refused(bench.verify(), "delegation_resolved", "arbitrary software");
  assert.equal(bench.fetched.filter((it) => it.includes(".a.json")).length, 1);
});

Deno.test("endless data: a chain of roles that is longer than the limit ends the search", async () => {
  const bench = await benchWith([to("r0")], async ({ image: side }) => {
    for (let at = 0; at < 6; at++) {
      await side.writeDelegated(`r${at}`, [keyA], at === 5 ? supplied : {}, {
        delegations: at === 5 ? undefined : [to(`r${at + 1}`)],
      });
    }
  });
  await refused(bench.verify({ limits: { delegations: 5 } }), "delegation_bounded", "endless data");
  assert.equal((await bench.verify({ limits: { delegations: 6 } })).targets[0].imageRole, "r5");
});

Deno.test("the whole Image repository is checked for whoever publishes in it", async () => {
  const bench = await benchWith([to("supplier"), to("other", keyB)], async ({ image: side }) => {
    await side.writeDelegated("supplier", [keyA], supplied, { delegations: [to("plant", keyB)] });
    await side.writeDelegated("plant", [keyB], {});
    await side.writeDelegated("other", [keyB], {}, { expires: inDays(2) });
  });
  const all = (time: Date) =>
    verifyRepository({
      store: bench.store,
      fetcher: bench.fetcher,
      time,
      signal: new AbortController().signal,
    });
  const { versions, delegated } = await all(now);
  assert.deepEqual(versions, { root: 1, timestamp: 2, snapshot: 2, targets: 2 });
  assert.deepEqual(delegated, ["supplier", "other", "plant"]);
  await refused(all(inDays(2)), "targets_expiry", "freeze");
});

Deno.test("patterns match within one part of a name", () => {
  for (
    const [pattern, name, expected] of [
      ["*", "a.bin", true],
      ["*", "a/b.bin", false],
      ["a/*", "a/b.bin", true],
      ["a/*", "a/b/c.bin", false],
      ["a/*/c.bin", "a/b/c.bin", true],
      ["*.bin", "a.bin", true],
      ["*.bin", "a.bin2", false],
      ["a?.bin", "a1.bin", true],
      ["a?.bin", "a.bin", false],
      ["a.bin", "aXbin", false],
      ["*a*b*c", "xxaxxbxxc", true],
      ["*a*b*c", "xxaxxbxx", false],
      ["**", "abc", true],
      ["A*", "abc", false],
    ] as const
  ) {
    assert.equal(matches(pattern, name), expected, `${pattern} ${name}`);
  }
});

import assert from "node:assert/strict";
import {
  checkProfiles,
  defaultProfileId,
  describeProfile,
  loadProfiles,
  profileById,
  profileLogLines,
} from "../../src/pqc/profiles.ts";
import { nativeEngineReport, UnsupportedProfile } from "../../src/pqc/native_engine.ts";

Deno.test("loadProfiles() gives the thirteen, as they are promised", () => {
  const shown = loadProfiles().map(({ id, name, groups, certificateAlgorithm }) =>
    `${id} | ${name} | ${groups.join(", ")} | ${certificateAlgorithm}`
  );
  assert.deepEqual(shown, [
    "0 | Classical ECC | X25519 | ECDSA P-256",
    "1 | Hybrid 128-bit | MLKEM512 | ECDSA P-256",
    "2 | Hybrid 192-bit | X25519MLKEM768, MLKEM768 | ECDSA P-256",
    "3 | Hybrid 256-bit | SecP384r1MLKEM1024, MLKEM1024 | ECDSA P-256",
    "4 | Pure PQC 128-bit | MLKEM512 | ML-DSA-44",
    "5 | Pure PQC 128-bit | MLKEM512 | ML-DSA-65",
    "6 | Pure PQC 128-bit | MLKEM512 | ML-DSA-87",
    "7 | Pure PQC 192-bit | MLKEM768 | ML-DSA-44",
    "8 | Pure PQC 192-bit | MLKEM768 | ML-DSA-65",
    "9 | Pure PQC 192-bit | MLKEM768 | ML-DSA-87",
    "10 | Pure PQC 256-bit | MLKEM1024 | ML-DSA-44",
    "11 | Pure PQC 256-bit | MLKEM1024 | ML-DSA-65",
    "12 | Pure PQC 256-bit | MLKEM1024 | ML-DSA-87",
  ]);
  assert.equal(defaultProfileId, 2);
});

Deno.test("the log says how many profiles there are and which is the default", () => {
  assert.deepEqual(profileLogLines(), [
    "Loaded 13 PQC configurations",
    "Default: Hybrid 192-bit (X25519MLKEM768, ECDSA P-256)",
  ]);
  assert.equal(describeProfile(profileById(12)), "Pure PQC 256-bit (MLKEM1024, ML-DSA-87)");
});

Deno.test("profileById() quotes an id that does not exist", () => {
  for (const id of [-1, 13, 1.5, NaN]) assert.throws(() => profileById(id), new RegExp(`0 to 12, got ${id}`));
});

Deno.test("checkProfiles() refuses profiles that would break their promise", () => {
  const good = loadProfiles();
  assert.throws(() => checkProfiles(good.slice(1)), /expected id 0, got 1/);
  assert.throws(() => checkProfiles(good.slice(0, 2)), /expected the default, 2/);
  assert.throws(
    () => checkProfiles([...good, { ...good[1], id: 13, groups: ["X25519"] }]),
    /profile 13: .*X25519/,
  );
  assert.throws(
    () => checkProfiles([...good, { ...good[1], id: 13, groups: ["MLKEM512", "MLKEM512"] }]),
    /profile 13: expected each group once/,
  );
});

Deno.test("the built-in engine claims nothing: profiles 0 and 2 with a warning, no other", () => {
  for (const id of [0, 2]) {
    const { lines, warnings } = nativeEngineReport([id]);
    assert.match(lines[0], /built-in.*unknown/);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], new RegExp(`profile ${id}, .*not enforced`));
  }
  for (const id of [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) {
    assert.throws(
      () => nativeEngineReport([2, id]),
      (error: unknown) => error instanceof UnsupportedProfile && error.profileId === id,
    );
  }
  assert.throws(() => nativeEngineReport([]), /at least one/);
  assert.throws(() => nativeEngineReport([13]), /got 13/);
});

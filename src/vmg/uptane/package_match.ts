// Whether a package holds exactly what both repositories directed to this vehicle. The package's own signature is one key's; what
// is held against it here takes the keys of both repositories.

import type { PackageEcu, PackageManifest } from "../../contract/package.ts";
import { type CheckCode, Checker, type CheckResult } from "../../uptane/checks.ts";
import { layoutHash } from "../../uptane/image_target.ts";
import type { VerifiedTarget } from "../../uptane/verify/full.ts";

/**
 * Compares every entry of the manifest with the image that was verified for its ECU.
 *
 * @param observe Hears of each check. @default nobody
 * @throws {UptaneError} of the first thing that differs
 */
export function matchPackage(
  manifest: PackageManifest,
  targets: readonly VerifiedTarget[],
  observe?: (result: CheckResult) => void,
): void {
  const checker = new Checker(observe);
  const verified = new Map(targets.map((target) => [target.ecuId, target]));
  const subject = `package ${manifest.package_id}`;
  const entries = manifest.zonal_gateways.flatMap(({ ecus }) => ecus);
  for (const entry of entries) {
    const target = verified.get(entry.ecu_id);
    if (target === undefined) {
      throw checker.failed(
        "package_directed",
        subject,
        `expected images for ${[...verified.keys()].join(", ") || "no ECU"}, got one for ${entry.ecu_id}`,
      );
    }
    checker.passed("package_directed", `${subject}, ${entry.ecu_id}`);
    matchEntry(`${subject}, ${entry.ecu_id}`, entry, target, checker);
  }
  const given = new Set(entries.map(({ ecu_id }) => ecu_id));
  const missing = targets.filter(({ ecuId }) => !given.has(ecuId)).map(({ ecuId }) => ecuId);
  checker.require(
    "package_complete",
    subject,
    missing.length === 0,
    () => `expected an image for each ECU that gets one, got none for ${missing.join(", ")}`,
  );
}

function matchEntry(subject: string, entry: PackageEcu, target: VerifiedTarget, checker: Checker): void {
  const { mustMatch } = target;
  const { image } = entry;
  const same = (code: CheckCode, found: string | number, expected: readonly unknown[] | undefined) =>
    checker.require(
      code,
      subject,
      expected?.includes(found) === true,
      () =>
        `expected ${expected?.join(" or ") ?? "something else, for nothing was signed of it"}, got ${found}`,
    );
  same("package_hash", image.sha256, [target.hashes.sha256]);
  same("package_length", image.size, [target.length]);
  same("package_hardware", entry.hw_version, mustMatch?.hardware_ids);
  same("package_ecu_type", entry.ecu_type, mustMatch?.ecu_types);
  same("package_version", entry.version, signed(mustMatch?.version));
  same("package_release", entry.release ?? 0, [target.releaseCounter]);
  same("package_layout", layoutHash(image), signed(mustMatch?.layout_sha256));
}

function signed(value: unknown): readonly unknown[] | undefined {
  return value === undefined ? undefined : [value];
}

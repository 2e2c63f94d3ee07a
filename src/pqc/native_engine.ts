// What the runtime's built-in TLS stack can do of the profiles, told as it is: little, and none of it enforced.

import { type CertificateAlgorithm, describeProfile, type Group, profileById } from "./profiles.ts";

/** The built-in stack, as measured against OpenSSL 3.5: its settings for groups have no effect. */
export const nativeEngine = {
  name: "built-in (node:tls)",
  /** Groups that it agrees on, of those that profiles name. */
  groups: new Set<Group>(["X25519MLKEM768", "X25519"]),
  certificateAlgorithms: new Set<CertificateAlgorithm>(["ECDSA P-256"]),
} as const;

/** What a log says of the engine before the first connection. */
export interface EngineReport {
  /** For level INFO. */
  readonly lines: readonly string[];
  /** For level WARN. */
  readonly warnings: readonly string[];
}

/** A profile that the engine cannot honour at all. */
export class UnsupportedProfile extends Error {
  override readonly name = "UnsupportedProfile";
  readonly profileId: number;

  constructor(message: string, profileId: number) {
    super(message);
    this.profileId = profileId;
  }
}

/**
 * Says what the built-in engine makes of the profiles that are asked for. Where it can agree on a profile's group it
 * does not enforce it, and it does not tell afterwards: that is a warning, never a claim.
 *
 * @param profileIds e.g. the setting `server.tls.profiles`.
 * @throws {UnsupportedProfile} for a profile none of whose groups it has, or whose certificates it cannot use.
 * @throws {RangeError} when there is no such profile, or none is given.
 */
export function nativeEngineReport(profileIds: readonly number[]): EngineReport {
  if (profileIds.length === 0) throw new RangeError("PQC profiles: expected at least one, got none");
  const lines = [`TLS engine: ${nativeEngine.name}; negotiated group and signature scheme unknown`];
  const warnings: string[] = [];
  for (const id of profileIds) {
    const profile = profileById(id);
    const { groups, certificateAlgorithm } = profile;
    const what = `PQC profile ${id}, ${describeProfile(profile)}`;
    if (!nativeEngine.certificateAlgorithms.has(certificateAlgorithm)) {
      throw new UnsupportedProfile(
        `${what}: the TLS engine ${nativeEngine.name} has no ${certificateAlgorithm} certificates, ` +
          `only ${[...nativeEngine.certificateAlgorithms].join(", ")}`,
        id,
      );
    }
    if (!groups.some((group) => nativeEngine.groups.has(group))) {
      throw new UnsupportedProfile(
        `${what}: the TLS engine ${nativeEngine.name} has none of the groups ${groups.join(", ")}, ` +
          `only ${[...nativeEngine.groups].join(", ")}`,
        id,
      );
    }
    warnings.push(
      `${what}: not enforced by the TLS engine ${nativeEngine.name}; ` +
        "connections with other groups, classical ones too, are accepted and not told apart",
    );
  }
  return { lines, warnings };
}

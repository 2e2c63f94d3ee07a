// The thirteen PQC profiles: which key exchange groups a link may use, in which order, and how its certificates are signed.

/** Key exchange groups, as the IANA registry "TLS Supported Groups" names them. */
export type Group =
  | "X25519"
  | "X25519MLKEM768"
  | "SecP384r1MLKEM1024"
  | "MLKEM512"
  | "MLKEM768"
  | "MLKEM1024";

/** How certificates are signed: ECDSA over P-256 (FIPS 186-5) or ML-DSA (FIPS 204). */
export type CertificateAlgorithm = "ECDSA P-256" | "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87";

/** All of them, the classical one first. */
export const certificateAlgorithms: readonly CertificateAlgorithm[] = [
  "ECDSA P-256",
  "ML-DSA-44",
  "ML-DSA-65",
  "ML-DSA-87",
];

/** One profile. It is a promise: a link on it uses one of these groups and certificates of this algorithm, or is refused. */
export interface Profile {
  /** 0 to 12. */
  readonly id: number;
  readonly name: string;
  /** Groups, the preferred one first. */
  readonly groups: readonly [Group, ...Group[]];
  readonly certificateAlgorithm: CertificateAlgorithm;
}

/** The profile that is used where nothing else is said. */
export const defaultProfileId = 2;

/** Groups without a post-quantum part. */
const classicalGroups: ReadonlySet<Group> = new Set<Group>(["X25519"]);

const table: readonly Profile[] = [
  { id: 0, name: "Classical ECC", groups: ["X25519"], certificateAlgorithm: "ECDSA P-256" },
  { id: 1, name: "Hybrid 128-bit", groups: ["MLKEM512"], certificateAlgorithm: "ECDSA P-256" },
  {
    id: 2,
    name: "Hybrid 192-bit",
    groups: ["X25519MLKEM768", "MLKEM768"],
    certificateAlgorithm: "ECDSA P-256",
  },
  {
    id: 3,
    name: "Hybrid 256-bit",
    groups: ["SecP384r1MLKEM1024", "MLKEM1024"],
    certificateAlgorithm: "ECDSA P-256",
  },
  { id: 4, name: "Pure PQC 128-bit", groups: ["MLKEM512"], certificateAlgorithm: "ML-DSA-44" },
  { id: 5, name: "Pure PQC 128-bit", groups: ["MLKEM512"], certificateAlgorithm: "ML-DSA-65" },
  { id: 6, name: "Pure PQC 128-bit", groups: ["MLKEM512"], certificateAlgorithm: "ML-DSA-87" },
  { id: 7, name: "Pure PQC 192-bit", groups: ["MLKEM768"], certificateAlgorithm: "ML-DSA-44" },
  { id: 8, name: "Pure PQC 192-bit", groups: ["MLKEM768"], certificateAlgorithm: "ML-DSA-65" },
  { id: 9, name: "Pure PQC 192-bit", groups: ["MLKEM768"], certificateAlgorithm: "ML-DSA-87" },
  { id: 10, name: "Pure PQC 256-bit", groups: ["MLKEM1024"], certificateAlgorithm: "ML-DSA-44" },
  { id: 11, name: "Pure PQC 256-bit", groups: ["MLKEM1024"], certificateAlgorithm: "ML-DSA-65" },
  { id: 12, name: "Pure PQC 256-bit", groups: ["MLKEM1024"], certificateAlgorithm: "ML-DSA-87" },
];

/**
 * Checks a set of profiles: ids 0, 1, 2 … in order, a group in each and none twice, a classical group or none but
 * classical ones in profile 0 alone, the default among them.
 *
 * @returns {readonly Profile[]} the same profiles.
 * @throws {RangeError} that names the profile and what is wrong with it.
 */
export function checkProfiles(profiles: readonly Profile[]): readonly Profile[] {
  for (const [index, { id, groups }] of profiles.entries()) {
    if (id !== index) throw new RangeError(`PQC profile at place ${index}: expected id ${index}, got ${id}`);
    if (groups.length === 0) throw new RangeError(`PQC profile ${id}: expected a group, got none`);
    if (new Set(groups).size !== groups.length) {
      throw new RangeError(`PQC profile ${id}: expected each group once, got ${groups.join(", ")}`);
    }
    const classical = groups.filter((group) => classicalGroups.has(group));
    if (id !== 0 && classical.length > 0) {
      throw new RangeError(`PQC profile ${id}: expected post-quantum groups, got ${classical.join(", ")}`);
    }
  }
  if (profiles[defaultProfileId] === undefined) {
    throw new RangeError(
      `PQC profiles: expected the default, ${defaultProfileId}, got ids 0 to ${profiles.length - 1}`,
    );
  }
  return profiles;
}

/** The thirteen profiles, checked; the id is the index. */
export function loadProfiles(): readonly Profile[] {
  return checkProfiles(table);
}

/** @throws {RangeError} when there is no profile of that id. */
export function profileById(id: number): Profile {
  const found = table.find((profile) => profile.id === id);
  if (found === undefined) {
    throw new RangeError(`PQC profile: expected a whole number from 0 to ${table.length - 1}, got ${id}`);
  }
  return found;
}

/** One profile for a person, e.g. `Hybrid 192-bit (X25519MLKEM768, ECDSA P-256)`. */
export function describeProfile({ name, groups, certificateAlgorithm }: Profile): string {
  return `${name} (${groups[0]}, ${certificateAlgorithm})`;
}

/** Signature scheme of each certificate algorithm (RFC 8446 section 4.2.3, draft-ietf-tls-mldsa section 3). */
export const signatureSchemes: Readonly<Record<CertificateAlgorithm, string>> = {
  "ECDSA P-256": "ecdsa_secp256r1_sha256",
  "ML-DSA-44": "mldsa44",
  "ML-DSA-65": "mldsa65",
  "ML-DSA-87": "mldsa87",
};

/** A certificate algorithm as file names hold it, e.g. `ml-dsa-65`. */
export function fileNameOf(algorithm: CertificateAlgorithm): string {
  return algorithm.toLowerCase().replaceAll(" ", "-");
}

/**
 * What a handshake came to, for a person: `X25519MLKEM768, ECDSA P-256`. A connection without post-quantum key exchange
 * is named so.
 */
export function describeNegotiated(
  { group, signatureScheme, resumed }: { group: string; signatureScheme: string; resumed: boolean },
): string {
  const algorithm = certificateAlgorithms.find((name) => signatureSchemes[name] === signatureScheme);
  const classical = [...classicalGroups].some((name) => name === group);
  return [
    group,
    algorithm ?? signatureScheme,
    ...classical ? ["classical"] : [],
    ...resumed ? ["resumed"] : [],
  ]
    .join(", ");
}

/** What the log says once the profiles are loaded. */
export function profileLogLines(): string[] {
  const profiles = loadProfiles();
  return [
    `Loaded ${profiles.length} PQC configurations`,
    `Default: ${describeProfile(profileById(defaultProfileId))}`,
  ];
}

// Attested time (Uptane Standard 2.1, sections 5.4.2.2 and 5.4.3.1): the vehicle sends a nonce, the server signs it with the time.
// A time that bears the nonce was signed after the nonce was made: it cannot be an old one. The key is that of the role `time` in
// the Director's root, so that it is rotated and revoked as all others are.

import { z } from "zod";
import { mostNonces, nonce as nonceSchema } from "../contract/uptane.ts";
import { Checker, type CheckResult } from "./checks.ts";
import { type Envelope, EnvelopeError, readEnvelope, signEnvelope } from "./envelope.ts";
import { ThresholdError } from "./errors.ts";
import type { Signer } from "./keys.ts";
import { type Root, specVersion, utcText, utcTime } from "./models.ts";
import { type Limits, limitsOf, type MetadataFetcher, type MetadataStore } from "./store.ts";
import { countSignatures } from "./threshold.ts";
import { TrustedRepository } from "./verify/repository.ts";

const attestedTime = z.object({
  _type: z.literal("time"),
  spec_version: z.string().max(16),
  time: utcTime,
  nonces: z.array(nonceSchema).max(mostNonces),
});

/** Longest attestation that is read, bytes. */
export const maxAttestation = 131_072;

/** Makes a nonce. */
export function makeNonce(): string {
  return crypto.getRandomValues(new Uint8Array(32)).toHex();
}

/**
 * The server's side: signs the time.
 *
 * @param nonces As `timeRequest` of the contract has checked them.
 */
export async function attest(
  time: Date,
  nonces: readonly string[],
  signers: readonly Signer[],
): Promise<Uint8Array<ArrayBuffer>> {
  return await signEnvelope(
    { _type: "time", spec_version: specVersion, time: utcText(time), nonces: [...nonces] },
    signers,
  );
}

/** An attestation that came in, and what it must answer. */
export interface AttestationOptions {
  readonly bytes: Uint8Array;
  /** The nonce of this vehicle, or of this ECU. */
  readonly nonce: string;
  /** The Director's root. */
  readonly root: Root;
  /** Latest time that was attested before. @default none */
  readonly previous?: Date;
  /** Hears of the checks. @default nobody */
  readonly checker?: Checker;
}

/**
 * The vehicle's side: checks an attestation.
 *
 * @returns {Promise<Date>} the time at which it was signed, cut to the second
 * @throws {UptaneError} of the first check that fails.
 */
export async function checkAttestation(
  { bytes, nonce, root, previous, checker = new Checker() }: AttestationOptions,
): Promise<Date> {
  const subject = "attested time";
  checker.require(
    "metadata_length",
    subject,
    bytes.length <= maxAttestation,
    () => `expected at most ${maxAttestation} bytes, got ${bytes.length}`,
  );
  let envelope: Envelope<z.infer<typeof attestedTime>>;
  try {
    envelope = readEnvelope(attestedTime, bytes);
  } catch (cause) {
    if (!(cause instanceof EnvelopeError)) throw cause;
    throw checker.failed("time_form", subject, cause.message, { cause });
  }
  const role = root.roles.time;
  if (role === undefined) {
    throw checker.failed("time_key", subject, "expected the role time in the Director's root, got none");
  }
  checker.passed("time_key", subject);
  const signatures = await countSignatures(envelope, { keys: root.keys, role });
  checker.require(
    "time_signed",
    subject,
    signatures >= role.threshold,
    () => `expected good signatures of ${role.threshold} of the role's keys, got ${signatures}`,
  );
  const { nonces, time: text } = envelope.signed;
  checker.require(
    "time_nonce",
    subject,
    nonces.includes(nonce),
    () => "expected the nonce that was sent, got others",
  );
  const time = new Date(text);
  checker.require(
    "time_rollback",
    subject,
    previous === undefined || time.getTime() >= Math.floor(previous.getTime() / 1000) * 1000,
    () => `expected ${previous === undefined ? "" : utcText(previous)} or later, got ${text}`,
  );
  return time;
}

/** Which keys attest the time: another text for other keys. */
export function timeKeys({ roles: { time } }: Root): string {
  return [...time?.keyids ?? []].sort().join(" ");
}

/** Options of {@linkcode attestTime}. */
export interface AttestTimeOptions {
  readonly store: MetadataStore;
  readonly fetcher: MetadataFetcher;
  /** Asks the server; gives what it answers, at most {@linkcode maxAttestation} bytes of it. */
  readonly ask: (nonces: readonly string[], signal: AbortSignal) => Promise<Uint8Array>;
  /**
   * Latest time that was attested before; a function is asked for the latest one of these keys (see {@linkcode timeKeys}). Other keys
   * begin anew: whoever stole the old ones may have told a time far ahead.
   * @default none
   */
  readonly previous?: Date | ((keys: string) => Date | undefined);
  readonly limits?: Partial<Limits>;
  readonly signal: AbortSignal;
  /** Hears of each check. @default nobody */
  readonly observe?: (result: CheckResult) => void;
}

/**
 * Step 1 of full verification: gets the time attested. When the key is not the one that the trusted root names, newer roots are
 * looked for once: the key may have been rotated. (Going from root to root needs no time.)
 *
 * @throws {UptaneError} of the first check that fails; StoreError as full verification does.
 */
export async function attestTime(options: AttestTimeOptions): Promise<Date> {
  const { store, fetcher, ask, previous, signal, observe } = options;
  const limits = limitsOf(options.limits);
  const checker = new Checker(observe);
  const director = await TrustedRepository.open({
    repository: "director",
    store,
    fetcher,
    // No expiry is looked at here.
    time: new Date(0),
    limits,
    signal,
    checker,
  });
  const nonce = makeNonce();
  const bytes = await ask([nonce], signal);
  const check = () => {
    const root = director.root.signed;
    const last = typeof previous === "function" ? previous(timeKeys(root)) : previous;
    return checkAttestation({ bytes, nonce, root, previous: last, checker });
  };
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof ThresholdError)) throw error;
    const { version } = director.root.signed;
    await director.updateRoot();
    if (director.root.signed.version === version) throw error;
    return await check();
  }
}

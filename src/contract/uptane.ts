// Signed metadata on the wire: what files the repositories give out, attested time, and the keys of vehicles' ECUs.

import { z } from "zod";
import * as id from "./identifiers.ts";

/** How roles and ECUs sign. */
export const signatureAlgorithms = ["ml-dsa-65", "ecdsa-p256"] as const;

const fileNumber = "[1-9][0-9]{0,15}";

/** A file of the Director: roots are the same for all vehicles, everything else is one vehicle's own. */
export const directorFile = z.string().regex(
  new RegExp(`^(?:timestamp|${fileNumber}\\.(?:root|snapshot|targets))\\.json$`),
  "must be timestamp.json, or a number with .root.json, .snapshot.json or .targets.json behind it",
);

/** A file of the Image repository; delegated roles have files like `3.body.json`. */
export const imageFile = z.string().regex(
  new RegExp(`^(?:timestamp|${fileNumber}\\.[A-Za-z0-9][A-Za-z0-9_.-]{0,63})\\.json$`),
  "must be timestamp.json, or a number with the name of a role and .json behind it",
);

/** A nonce: 16 to 64 random bytes as hexadecimal digits. */
export const nonce = z.string().regex(
  /^(?:[0-9a-f]{2}){16,64}$/,
  "must be 16 to 64 bytes in hexadecimal digits",
);

/** Most nonces that one attestation answers: those of a vehicle's ECUs. */
export const mostNonces = 256;

/** What is asked of the time server. */
export const timeRequest = z.strictObject({ nonces: z.array(nonce).min(1).max(mostNonces) });

/** A signed document. Whether its signatures are good is not the form's affair. */
export const signedDocument = z.strictObject({
  signed: z.record(z.string(), z.json()),
  signatures: z.array(
    z.strictObject({
      keyid: id.sha256,
      sig: z.string().max(20_000).regex(/^(?:[0-9a-f]{2})*$/, "must be lower-case hexadecimal digits"),
      method: z.string().max(64).optional(),
      hash_function: z.literal("sha256").optional(),
      hash: id.sha256.optional(),
    }),
  ).max(64),
});

/** A public key as PEM of its SubjectPublicKeyInfo: ECDSA P-256 or ML-DSA-65. */
const publicKey = z.string().min(1).max(8192);

/** An ECU's keys, as an operator enters them. */
export const inventoryEntry = z.strictObject({
  vin: id.vin,
  ecu_id: id.ecuId,
  /** Whether it is the Primary: the gateway that signs for the vehicle. A vehicle has one. */
  primary: z.boolean().default(false),
  /** All of them must sign. */
  keys: z.array(publicKey).min(1).max(4),
});

/** An ECU's keys, as they are shown. */
export const inventoryEcu = z.strictObject({
  vin: id.vin,
  ecu_id: id.ecuId,
  primary: z.boolean(),
  keys: z.array(z.strictObject({
    keyid: id.sha256,
    algorithm: z.enum(signatureAlgorithms),
    public: publicKey,
  })),
  /** `gateway`: the ECU signs nothing itself, its reports bear the Primary's signature. */
  signed_by: z.enum(["ecu", "gateway"]),
  added: id.timestamp,
  /** Time in the last report that was believed. */
  last_report: id.timestamp.nullable(),
});

export const inventoryList = z.strictObject({ ecus: z.array(inventoryEcu), total: z.int() });

export const inventoryRemoval = z.strictObject({ vin: id.vin, ecu_id: id.ecuId });

export const inventoryRemoved = z.strictObject({ status: z.literal("removed") });

/** Where an image stands with the Image repository. */
export const targetState = z.enum([
  /** Vehicles find it there. */
  "published",
  /** Written down, but the keys of the role targets are not on the server: signatures are missing. */
  "staged",
]);

export type InventoryEntry = z.infer<typeof inventoryEntry>;
export type InventoryEcuAnswer = z.infer<typeof inventoryEcu>;
export type SignedDocument = z.infer<typeof signedDocument>;
export type TargetState = z.infer<typeof targetState>;

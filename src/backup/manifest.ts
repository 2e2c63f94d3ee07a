// What a backup says of itself: at its beginning that it is one, at its end what is in it.

import { z } from "zod";
import { BadBackup, NewerBackup, quote } from "./errors.ts";

/** The form's number. A program reads those up to its own. */
export const backupVersion = 1;

/** Largest manifest: a line of 200 bytes for each of a few hundred thousand files. */
export const maxManifest = 128 * 1024 * 1024;
export const maxHead = 4096;
/** Largest `keys.enc`: some ten thousand keys. */
export const maxKeys = 64 * 1024 * 1024;

const count = z.int().min(0);
const head = z.strictObject({
  format: z.literal("zonebench-backup"),
  version: z.literal(backupVersion),
  /** ISO 8601. */
  created: z.iso.datetime(),
  /** Of the program that made it. */
  program: z.string().max(100),
});

const manifest = head.extend({
  /** Absent: a data folder without a server. */
  database: z.strictObject({ migrations: count, tables: count, rows: count }).optional(),
  /** SQLite files with their schema's version (PRAGMA user_version). */
  sqlite: z.array(z.strictObject({ path: z.string(), version: count })),
  keys: z.boolean(),
  entries: z.array(z.strictObject({
    path: z.string(),
    size: count,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  })),
});

export type Head = z.infer<typeof head>;
export type Manifest = z.infer<typeof manifest>;

/** Reads the first entry. @throws {NewerBackup} {@link BadBackup} */
export function parseHead(bytes: Uint8Array): Head {
  const value = parseJson("its first entry", bytes);
  const known = z.looseObject({
    format: z.literal("zonebench-backup"),
    version: z.int(),
    program: z.string(),
  })
    .safeParse(value);
  if (known.success && known.data.version > backupVersion) {
    throw new NewerBackup(
      `the backup has form ${known.data.version}, made by zonebench ${known.data.program}; this program reads forms up to ` +
        `${backupVersion}: restore it with a newer program`,
    );
  }
  return checked(head, value, "its first entry");
}

/** Reads the last entry. @throws {BadBackup} */
export function parseManifest(bytes: Uint8Array): Manifest {
  return checked(manifest, parseJson("the manifest", bytes), "the manifest");
}

function checked<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new BadBackup(`${what}: ${issue.path.join(".") || "all of it"}: ${issue.message}`);
}

function parseJson(what: string, bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch {
    throw new BadBackup(`${what}: expected JSON, got ${quote(text)}`);
  }
}

// A metadata file as it is given out, with what tells one content from another.

import { createHash } from "node:crypto";

/** A file. */
export interface GivenOut {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Strong entity tag with its quotes. */
  readonly etag: string;
}

/** @param bytes undefined: there is no such file */
export function givenOut(bytes: Uint8Array | undefined): GivenOut | undefined {
  return bytes && {
    bytes: Uint8Array.from(bytes),
    etag: `"${createHash("sha256").update(bytes).digest("hex")}"`,
  };
}

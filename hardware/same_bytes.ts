// Whether two runs of bytes are the same. Not for secrets: how long it takes tells where they differ.

/** Compares lengths and contents. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

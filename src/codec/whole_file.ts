// Files that appear whole or not at all: written under a temporary name, flushed to the disk, renamed.

/** Writes all of `bytes`. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/**
 * Creates or replaces the file at `path` with what `fill` writes.
 *
 * If `fill` throws, nothing is left behind and what lay at `path` stays.
 */
export async function writeWhole<T>(path: string, fill: (write: Write) => Promise<T>): Promise<T> {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  const file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o644 });
  try {
    let result: T;
    try {
      result = await fill(async (bytes) => {
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      });
      await file.sync();
    } finally {
      file.close();
    }
    await Deno.rename(temporary, path);
    return result;
  } catch (error) {
    await Deno.remove(temporary);
    throw error;
  }
}

/** A file's bytes from `offset` on, in chunks that are the reader's to keep; ends after `length` bytes or with the file. */
export async function* readRange(
  path: string,
  offset: number,
  length: number,
  chunkSize: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  using file = await Deno.open(path, { read: true });
  await file.seek(offset, Deno.SeekMode.Start);
  for (let left = length; left > 0;) {
    const chunk = new Uint8Array(Math.min(chunkSize, left));
    const got = await file.read(chunk);
    if (got === null) return;
    left -= got;
    yield chunk.subarray(0, got);
  }
}

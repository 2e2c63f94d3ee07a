// Files that appear whole or not at all: written under a temporary name, flushed to the disk, renamed. Writing waits for
// the disk: it is done in the codec's threads.

/** Writes all of `bytes`. */
export type Write = (bytes: Uint8Array) => void;

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
      result = await fill((bytes) => {
        for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      });
      await file.sync();
    } finally {
      file.close();
    }
    await Deno.rename(temporary, path);
    return result;
  } catch (error) {
    // What went wrong first is what to report, not that the remains could not be removed.
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

/**
 * A file's bytes from `offset` on, ending after `length` bytes or with the file. The chunks share one buffer: each is valid
 * until the next is asked for.
 */
export async function* readRange(
  path: string,
  offset: number,
  length: number,
  chunkSize: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  using file = await Deno.open(path, { read: true });
  await file.seek(offset, Deno.SeekMode.Start);
  const buffer = new Uint8Array(Math.min(chunkSize, length));
  for (let left = length; left > 0;) {
    const got = await file.read(left < buffer.length ? buffer.subarray(0, left) : buffer);
    if (got === null) return;
    left -= got;
    yield buffer.subarray(0, got);
  }
}

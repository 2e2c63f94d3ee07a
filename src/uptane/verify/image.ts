// An image's bytes against what was signed of them (Uptane Standard 2.1, sections 5.4.2.4 and 5.4.3.4), while they stream by.

import { createHash } from "node:crypto";
import { Checker } from "../checks.ts";
import type { Hashes } from "../models.ts";

/** What was signed of an image. */
export interface SignedImage {
  readonly filename: string;
  readonly length: number;
  readonly hashes: Hashes;
}

/** Options of {@linkcode checkedImage}. */
export interface CheckedImageOptions {
  /**
   * Slowest rate that is taken for more than `patience`, bytes a second. 0: any.
   * @default 0
   */
  readonly minimumRate?: number;
  /** How long the rate may be lower, ms. @default 30000 */
  readonly patience?: number;
  /** Time that passes, ms. @default performance.now */
  readonly now?: () => number;
  /** Hears of the checks. @default nobody */
  readonly checker?: Checker;
}

/**
 * Passes an image's bytes on and checks them. Who takes them must do nothing that cannot be undone until the last one came:
 * the hashes are known only then.
 *
 * @throws {EndlessDataError} as soon as there are more bytes than were signed.
 * @throws {ImageError} at the end, if there are fewer, or a hash is another.
 * @throws {SlowRetrievalError} when within `patience` less came than the rate asks for. It is seen when something comes: who
 *   reads from a network has a limit for silence besides.
 */
export async function* checkedImage(
  stream: AsyncIterable<Uint8Array>,
  { filename, length, hashes }: SignedImage,
  options: CheckedImageOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  const { minimumRate = 0, patience = 30_000, now = () => performance.now(), checker = new Checker() } =
    options;
  if (!(minimumRate >= 0)) throw new RangeError(`minimumRate: expected 0 or more, got ${minimumRate}`);
  if (!(patience > 0)) throw new RangeError(`patience: expected more than 0 ms, got ${patience}`);
  const running = (["sha256", "sha512"] as const).flatMap((name) => {
    const expected = hashes[name];
    return expected === undefined ? [] : [{ name, expected, hash: createHash(name) }];
  });
  let got = 0;
  let windowBegan = now();
  let windowGot = 0;
  for await (const part of stream) {
    got += part.length;
    if (got > length) {
      throw checker.failed("image_length", filename, `expected ${length} bytes, got more`);
    }
    windowGot += part.length;
    const elapsed = now() - windowBegan;
    if (elapsed >= patience) {
      const needed = minimumRate * elapsed / 1000;
      if (windowGot < needed) {
        const rate = Math.floor(windowGot * 1000 / elapsed);
        throw checker.failed(
          "image_speed",
          filename,
          `expected ${minimumRate} bytes a second, got ${rate} over ${Math.round(elapsed)} ms`,
        );
      }
      windowBegan += elapsed;
      windowGot = 0;
    }
    for (const { hash } of running) hash.update(part);
    yield part;
  }
  checker.passed("image_length", filename);
  checker.require("image_short", filename, got === length, () => `expected ${length} bytes, got ${got}`);
  for (const { name, expected, hash } of running) {
    const found = hash.digest("hex");
    checker.require(
      "image_hash",
      filename,
      found === expected,
      () => `expected ${name} ${expected}, got ${found}`,
    );
  }
}

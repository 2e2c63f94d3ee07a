// The server's side of SecurityAccess (0x27, ISO 14229-1:2020 10.4 and Annex I): seeds, keys, attempts and the delay.
import type { Clock } from "../clock.ts";
import { Nrc } from "./nrc.ts";
import { keysEqual, type SeedKey } from "./seed_key.ts";
import { Refusal } from "./server_service.ts";
import { positiveOffset, Sid } from "./services.ts";

/** One security level. */
export interface SecurityLevelOptions {
  /** The odd sub-function that asks for a seed; the even one above it sends the key. 0x01 … 0x7D */
  level: number;
  seedKey: SeedKey;
  /** Bytes of a seed. @default 16 */
  seedLength?: number;
  /** Wrong keys until the delay begins. @default 3 */
  attempts?: number;
  /** Delay after too many wrong keys, ms. @default 10000 */
  delay?: number;
}

/** What a level must not forget without power: a reset would be a way around attempts and delay. */
export interface KeptSecurityLevel {
  level: number;
  wrongKeys: number;
  /** The delay was running; it begins anew. */
  delayed: boolean;
}

interface Level {
  options: Required<SecurityLevelOptions>;
  wrongKeys: number;
  delayedUntil: number;
}

/** Which level is unlocked, and what stands between a tester and the next one. */
export class ServerSecurity {
  readonly #levels = new Map<number, Level>();
  readonly #clock: Clock;
  readonly #random: (length: number) => Uint8Array;
  #unlocked = 0;
  #seed: Uint8Array | undefined;
  #seedLevel = 0;

  constructor(levels: SecurityLevelOptions[], clock: Clock, random: (length: number) => Uint8Array) {
    this.#clock = clock;
    this.#random = random;
    for (const given of levels) {
      const options = { seedLength: 16, attempts: 3, delay: 10_000, ...given };
      const { level, seedLength, attempts, delay } = options;
      if (!Number.isInteger(level) || level < 1 || level > 0x7d || level % 2 === 0) {
        throw new RangeError(`security level: expected an odd number 0x01 … 0x7D, got ${level}`);
      }
      if (!Number.isInteger(seedLength) || seedLength < 1 || seedLength > 255) {
        throw new RangeError(`seedLength of security level ${level}: expected 1 … 255, got ${seedLength}`);
      }
      if (!Number.isInteger(attempts) || attempts < 1) {
        throw new RangeError(`attempts of security level ${level}: expected 1 or more, got ${attempts}`);
      }
      if (!Number.isFinite(delay) || delay < 0) {
        throw new RangeError(`delay of security level ${level}: expected 0 ms or more, got ${delay}`);
      }
      this.#levels.set(level, { options, wrongKeys: 0, delayedUntil: -Infinity });
    }
  }

  /** The odd number of the level that is unlocked, 0 for none. */
  get unlocked(): number {
    return this.#unlocked;
  }

  /** Called when wrong keys or a delay changed, so that {@link kept} can be kept. */
  onChange: (() => void) | undefined;

  /** Levels that are not as new. */
  get kept(): KeptSecurityLevel[] {
    return [...this.#levels].flatMap(([level, { wrongKeys, delayedUntil }]) => {
      const delayed = this.#clock.now() < delayedUntil;
      return wrongKeys > 0 || delayed ? [{ level, wrongKeys, delayed }] : [];
    });
  }

  /** Takes over what was kept without power; a delay that ran starts over (Annex I). Unknown levels are passed over. */
  restore(kept: readonly KeptSecurityLevel[]): void {
    for (const { level, wrongKeys, delayed } of kept) {
      const state = this.#levels.get(level);
      if (state === undefined) continue;
      state.wrongKeys = Math.min(wrongKeys, state.options.attempts - 1);
      if (delayed) state.delayedUntil = this.#clock.now() + state.options.delay;
    }
  }

  /** Locks and forgets a seed that is out. Attempts and delay stay: a reset must not be a way around them. */
  lock(): void {
    this.#unlocked = 0;
    this.#seed = undefined;
  }

  /** Answers a request whose sub-function is supported. @throws {Refusal} */
  answer(request: Uint8Array, subFunction: number): Uint8Array | Promise<Uint8Array> {
    return subFunction % 2 === 1
      ? this.#requestSeed(request, subFunction)
      : this.#sendKey(request, subFunction - 1);
  }

  #requestSeed(request: Uint8Array, level: number): Uint8Array {
    const state = this.#level(level);
    // A securityAccessDataRecord belongs to levels that define one; these do not.
    if (request.length !== 2) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
    if (this.#clock.now() < state.delayedUntil) throw new Refusal(Nrc.requiredTimeDelayNotExpired);
    const answer = new Uint8Array(2 + state.options.seedLength);
    answer[0] = Sid.securityAccess + positiveOffset;
    answer[1] = level;
    // All zero says that the level is unlocked already (10.4.1).
    if (this.#unlocked === level) return answer;
    let seed: Uint8Array;
    do seed = this.#random(state.options.seedLength); while (seed.every((byte) => byte === 0));
    this.#seed = seed;
    this.#seedLevel = level;
    answer.set(seed, 2);
    return answer;
  }

  async #sendKey(request: Uint8Array, level: number): Promise<Uint8Array> {
    const state = this.#level(level);
    const seed = this.#seed;
    // A key without its seed, or for another level's seed (Annex I: the sequence starts over).
    if (seed === undefined || this.#seedLevel !== level) throw new Refusal(Nrc.requestSequenceError);
    if (request.length < 3) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
    const key = request.slice(2);
    // One try a seed, whatever comes of it.
    this.#seed = undefined;
    const right = await state.options.seedKey(seed, level);
    if (keysEqual(key, right)) {
      if (state.wrongKeys > 0) {
        state.wrongKeys = 0;
        this.onChange?.();
      }
      this.#unlocked = level;
      return Uint8Array.of(Sid.securityAccess + positiveOffset, level + 1);
    }
    state.wrongKeys++;
    if (state.wrongKeys < state.options.attempts) {
      this.onChange?.();
      throw new Refusal(Nrc.invalidKey);
    }
    // After the delay one more attempt is free (Annex I: the counter is decremented when the delay has passed).
    state.wrongKeys = state.options.attempts - 1;
    state.delayedUntil = this.#clock.now() + state.options.delay;
    this.onChange?.();
    throw new Refusal(Nrc.exceedNumberOfAttempts);
  }

  #level(level: number): Level {
    const state = this.#levels.get(level);
    if (state === undefined) throw new Refusal(Nrc.subFunctionNotSupported);
    return state;
  }
}

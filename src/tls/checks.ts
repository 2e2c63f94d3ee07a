// Checks of what listen() and connect() are given, and the defaults, the same for each engine.

/** Longest handshake, ms, where the options say nothing. */
export const defaultHandshakeTimeout = 10_000;

/** Most connections at once, where the options say nothing. */
export const defaultMaxConnections = 10_000;

/** @throws {RangeError} unless `port` is a whole number from `least` to 65535. */
export function checkPort(port: number, least: number): void {
  if (!Number.isInteger(port) || port < least || port > 65_535) {
    throw new RangeError(`port: expected a whole number from ${least} to 65535, got ${port}`);
  }
}

/** Longest delay that a timer of the runtime takes, ms: a longer one would fire at once. */
const longestTimer = 2 ** 31 - 1;

/** @throws {RangeError} unless `value` is a whole number from 1 to `most`. */
export function checkPositive(name: string, value: number, most: number = longestTimer): void {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new RangeError(`${name}: expected a whole number from 1 to ${most}, got ${value}`);
  }
}

/** @throws {RangeError} when sessions are to be off: the runtime's own stack has no switch for it. */
export function checkResumption(resumption: boolean | undefined): void {
  if (resumption === false) {
    throw new RangeError(
      'resumption: expected true with the engine "native", which has no switch for it, got false',
    );
  }
}

/** @throws {RangeError} when there is a clock: the runtime's own stack goes by the system's. */
export function checkNoClock(clock: unknown): void {
  if (clock !== undefined) {
    throw new RangeError('clock: expected none with the engine "native", which goes by the system\'s');
  }
}

/** @throws {RangeError} when there is a tap: the runtime's own stack keeps its secrets, so a record could not be read. */
export function checkNoTap(tap: unknown): void {
  if (tap !== undefined) {
    throw new RangeError('tap: expected none with the engine "native", which gives no secrets');
  }
}

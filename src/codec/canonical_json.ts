// Canonical JSON (RFC 8785), restricted to what the product signs: objects, arrays, strings, booleans and whole numbers
// that JSON carries exactly. Two programs that mean the same manifest sign the same bytes.

/** A value that has a canonical form here. */
export type CanonicalValue =
  | string
  | number
  | boolean
  | readonly CanonicalValue[]
  | { readonly [name: string]: CanonicalValue };

/** A value that has no canonical form here. */
export class CanonicalJsonError extends Error {
  override readonly name = "CanonicalJsonError";
}

/** Deepest nesting: what is signed has six levels, and recursion must end before the stack does. */
const maxDepth = 32;

/**
 * The canonical form of a value, UTF-8.
 *
 * @throws {CanonicalJsonError} For `null`, fractions, numbers beyond 2^53, strings with a lone surrogate (RFC 8785,
 *   section 3.2.2.2), everything that JSON has not, and nesting deeper than 32.
 */
export function canonicalJson(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(write(value, "$", 0));
}

function write(value: unknown, path: string, depth: number): string {
  if (depth > maxDepth) throw new CanonicalJsonError(`${path}: expected at most ${maxDepth} levels`);
  switch (typeof value) {
    case "string":
      return text(value, path);
    case "boolean":
      return value ? "true" : "false";
    case "number":
      if (!Number.isSafeInteger(value)) {
        throw new CanonicalJsonError(`${path}: expected a whole number up to 2^53 − 1, got ${value}`);
      }
      return String(value);
    case "object": {
      if (value === null) throw new CanonicalJsonError(`${path}: expected a value, got null`);
      if (Array.isArray(value)) {
        // By index, not map(): a hole in an array is refused, not skipped.
        const items: string[] = [];
        for (let at = 0; at < value.length; at++) items.push(write(value[at], `${path}[${at}]`, depth + 1));
        return `[${items.join(",")}]`;
      }
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null) {
        throw new CanonicalJsonError(`${path}: expected a plain object, got an instance of a class`);
      }
      // Section 3.2.3: sorted by UTF-16 code units, which is what JavaScript's sort does.
      const members = Object.entries(value)
        .sort(([a], [b]) => a < b ? -1 : 1)
        .map(([name, member]) => `${text(name, path)}:${write(member, `${path}.${name}`, depth + 1)}`);
      return `{${members.join(",")}}`;
    }
    default:
      throw new CanonicalJsonError(`${path}: expected a JSON value, got ${typeof value}`);
  }
}

/** Section 3.2.2.2: the escapes of ECMAScript's JSON.stringify are the canonical ones. */
function text(value: string, path: string): string {
  if (!value.isWellFormed()) throw new CanonicalJsonError(`${path}: expected Unicode, got a lone surrogate`);
  return JSON.stringify(value);
}

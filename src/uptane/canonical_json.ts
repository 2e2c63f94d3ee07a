// Canonical JSON as TUF signs it (http://wiki.laptop.org/go/Canonical_JSON; TUF specification, section 4.2): no blanks, names
// in the order of their code points, whole numbers only, and within strings only `"` and `\` escaped. Control characters, the
// line ends of a PEM text among them, stand as they are: the form is for signing, not for reading back. (RFC 8785, in which
// package manifests are signed, escapes them; the two forms differ in nothing else that both of them take.)

/** What JSON carries here: numbers are whole. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** An object of JSON. */
export interface JsonObject {
  readonly [name: string]: JsonValue;
}

/** Deepest nesting that is written. */
const maxDepth = 32;

/**
 * The canonical form of a value, UTF-8.
 *
 * @throws {RangeError} For fractions, whole numbers beyond 2^53 − 1, strings with a lone surrogate and nesting deeper than 32.
 */
export function canonicalJson(value: JsonValue): Uint8Array<ArrayBuffer> {
  const parts: string[] = [];
  write(value, parts, 0);
  return new TextEncoder().encode(parts.join(""));
}

function write(value: JsonValue, parts: string[], depth: number): void {
  if (depth > maxDepth) throw new RangeError(`canonical JSON: expected at most ${maxDepth} levels, got more`);
  if (typeof value === "string") parts.push(quoted(value));
  else if (value === null || typeof value === "boolean") parts.push(String(value));
  else if (typeof value === "number") parts.push(whole(value));
  else if (isArray(value)) {
    parts.push("[");
    value.forEach((item, at) => {
      if (at > 0) parts.push(",");
      write(item, parts, depth + 1);
    });
    parts.push("]");
  } else {
    parts.push("{");
    Object.keys(value).sort(byCodePoints).forEach((name, at) => {
      if (at > 0) parts.push(",");
      parts.push(quoted(name), ":");
      write(value[name], parts, depth + 1);
    });
    parts.push("}");
  }
}

/** `Array.isArray`, for read-only arrays too. */
export function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function whole(value: number): string {
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`canonical JSON: expected a whole number up to 2^53 − 1, got ${value}`);
  }
  return String(value); // −0 is "0".
}

function quoted(text: string): string {
  if (!text.isWellFormed()) throw new RangeError("canonical JSON: expected Unicode, got a lone surrogate");
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

/** Order of code points, which is that of the UTF-8 bytes; JavaScript's own is that of UTF-16 units. */
function byCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at++) {
    const left = a.charCodeAt(at);
    const right = b.charCodeAt(at);
    if (left === right) continue;
    const surrogates = Number(isSurrogate(left)) - Number(isSurrogate(right));
    return surrogates !== 0 ? surrogates : left - right;
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

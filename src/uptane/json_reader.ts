// Reads JSON (RFC 8259) the way that signed data asks for: each byte has one meaning, and nothing is lost on the way to the
// canonical form. Refused are: names that stand twice, numbers that are not whole or not exact, −0, strings that are not
// Unicode in Normalization Form C (Uptane Standard 2.1, section 5.2), a byte order mark, and what goes beyond the limits.

import type { JsonObject, JsonValue } from "./canonical_json.ts";

/** Bounds of what is read. */
export interface JsonLimits {
  /** @default 24 levels */
  readonly depth?: number;
  /** Values, names not counted. @default 250000 */
  readonly values?: number;
}

/** Text that is not read. */
export class JsonReadError extends Error {
  override readonly name = "JsonReadError";
  /** Character at which it breaks, counted from 0. */
  readonly at: number;

  constructor(reason: string, at: number) {
    super(`${reason} at character ${at}`);
    this.at = at;
  }
}

/**
 * Reads UTF-8 JSON. Objects have no prototype: a member named `__proto__` is a member like any other.
 *
 * @throws {JsonReadError}
 */
export function readJson(bytes: Uint8Array, limits: JsonLimits = {}): JsonValue {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonReadError("expected UTF-8, got other bytes", 0);
  }
  return new Reader(text, limits.depth ?? 24, limits.values ?? 250_000).document();
}

const blank = /[ \t\n\r]*/y;
const numberForm = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** Characters of a string up to its end or its next escape. */
// deno-lint-ignore no-control-regex -- control characters may not stand in a string (RFC 8259, section 7)
const plain = /[^"\\\u0000-\u001f]*/y;
// deno-lint-ignore no-control-regex -- ASCII begins with control characters
const ascii = /^[\u0000-\u007f]*$/;
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

class Reader {
  #at = 0;
  #left: number;

  constructor(readonly text: string, readonly depth: number, values: number) {
    this.#left = values;
  }

  document(): JsonValue {
    const value = this.#value(0);
    this.#blanks();
    if (this.#at < this.text.length) throw this.#error(`expected the end, got ${this.#here()}`);
    return value;
  }

  #value(depth: number): JsonValue {
    this.#blanks();
    if (depth > this.depth) throw this.#error(`expected at most ${this.depth} levels, got more`);
    if (--this.#left < 0) throw this.#error("expected fewer values, got one too many");
    switch (this.text[this.#at]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
        return this.#word("true", true);
      case "f":
        return this.#word("false", false);
      case "n":
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #object(depth: number): JsonObject {
    const object: Record<string, JsonValue> = Object.create(null);
    this.#at++;
    this.#blanks();
    if (this.#taken("}")) return object;
    do {
      this.#blanks();
      const begin = this.#at;
      if (this.text[begin] !== '"') throw this.#error(`expected a name, got ${this.#here()}`);
      const name = this.#string();
      if (name in object) throw new JsonReadError(`expected each name once, got ${quote(name)} twice`, begin);
      this.#blanks();
      this.#expect(":");
      object[name] = this.#value(depth + 1);
      this.#blanks();
    } while (this.#taken(","));
    this.#expect("}");
    return object;
  }

  #array(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    this.#at++;
    this.#blanks();
    if (this.#taken("]")) return items;
    do {
      items.push(this.#value(depth + 1));
      this.#blanks();
    } while (this.#taken(","));
    this.#expect("]");
    return items;
  }

  #string(): string {
    const begin = this.#at++;
    let value = "";
    for (;;) {
      value += this.#match(plain);
      if (this.#taken('"')) break;
      if (!this.#taken("\\")) throw this.#error(`expected the rest of a string, got ${this.#here()}`);
      const escape = this.text[this.#at++];
      if (escape === "u") {
        const digits = this.text.slice(this.#at, this.#at + 4);
        if (!/^[0-9A-Fa-f]{4}$/.test(digits)) throw this.#error("expected four hexadecimal digits");
        value += String.fromCharCode(parseInt(digits, 16));
        this.#at += 4;
      } else {
        const meant = escape === undefined ? undefined : escapes[escape];
        if (meant === undefined) throw this.#error("expected an escape of JSON");
        value += meant;
      }
    }
    if (ascii.test(value)) return value;
    if (!value.isWellFormed()) throw new JsonReadError("expected Unicode, got a lone surrogate", begin);
    if (value !== value.normalize("NFC")) {
      throw new JsonReadError("expected Normalization Form C, got another one", begin);
    }
    return value;
  }

  #number(): number {
    const begin = this.#at;
    const digits = this.#match(numberForm);
    if (digits === "") throw this.#error(`expected a value, got ${this.#here()}`);
    const value = Number(digits);
    if (!/^-?\d+$/.test(digits) || !Number.isSafeInteger(value) || Object.is(value, -0)) {
      throw new JsonReadError(
        `expected a whole number up to 2^53 − 1, got ${digits.slice(0, 40)}`,
        begin,
      );
    }
    return value;
  }

  #word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.#at)) throw this.#error(`expected a value, got ${this.#here()}`);
    this.#at += word.length;
    return value;
  }

  #match(form: RegExp): string {
    form.lastIndex = this.#at;
    const found = form.exec(this.text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #blanks(): void {
    this.#match(blank);
  }

  #taken(mark: string): boolean {
    if (this.text[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #expect(mark: string): void {
    if (!this.#taken(mark)) throw this.#error(`expected ${quote(mark)}, got ${this.#here()}`);
  }

  #here(): string {
    return this.#at >= this.text.length ? "the end" : quote(this.text[this.#at]);
  }

  #error(reason: string): JsonReadError {
    return new JsonReadError(reason, this.#at);
  }
}

/** A text from outside, short enough for a message. */
function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

// The header of a VBF file (Versatile Binary Format, used by Volvo, Ford, Geely): `vbf_version = 2.6; header { … }`, a text
// of assignments with comments, strings, numbers, words and lists in braces. The blocks begin right behind its last brace.

import type { Segment } from "../image.ts";
import { character } from "./digits.ts";
import { FirmwareFormatError } from "./errors.ts";

/** Longest header: signatures of some 1,000 digits and a description fit many times over. */
export const maxVbfHeader = 65_536;
/** Most ranges of `erase` or `omit`. */
const maxRanges = 4_096;
const maxDepth = 3;

/** What a VBF header says. */
export interface VbfHeader {
  /** e.g. `2.6`. */
  readonly version: string;
  /** `sw_part_number`. */
  readonly partNumber: string | undefined;
  /** `sw_part_type`: EXE, DATA, SBL, CARCFG and others. */
  readonly partType: string | undefined;
  /** `ecu_address`. */
  readonly ecuAddress: number | undefined;
  /** `data_format_identifier`; 0x00 where there is none. */
  readonly dataFormat: number;
  /** `erase`: ranges that must be erased before the blocks are written. */
  readonly erase: readonly Segment[] | undefined;
  /** `omit`: ranges that are left as they are. */
  readonly omit: readonly Segment[];
  /** `call`: where execution begins once the blocks are there, in a secondary boot loader. */
  readonly call: number | undefined;
  /** `file_checksum`: CRC-32 of all bytes behind the header. */
  readonly checksum: number;
}

/** Finds the end of a header in a stream of bytes and keeps the text up to it. */
export class VbfHeaderCollector {
  readonly #bytes = new Uint8Array(maxVbfHeader);
  #length = 0;
  #depth = 0;
  #state: "text" | "string" | "slash" | "line_comment" | "comment" | "star" = "text";

  /** Bytes taken so far. */
  get length(): number {
    return this.#length;
  }

  /** Takes bytes until the header ends. @returns how many it took, and the header once it is whole. */
  push(piece: Uint8Array): { taken: number; header: VbfHeader | undefined } {
    for (let at = 0; at < piece.length; at++) {
      if (this.#length === maxVbfHeader) {
        throw new FirmwareFormatError("bad_header", {
          offset: this.#length,
          expected: `the header's last brace within ${maxVbfHeader} bytes`,
          found: "none",
        });
      }
      const byte = piece[at];
      this.#bytes[this.#length++] = byte;
      if (this.#ends(byte)) {
        return { taken: at + 1, header: parseHeader(latin1(this.#bytes.subarray(0, this.#length))) };
      }
    }
    return { taken: piece.length, header: undefined };
  }

  /** The error of a file that ends in its header. */
  missing(): FirmwareFormatError {
    return new FirmwareFormatError("bad_header", {
      offset: this.#length,
      expected: "the header's last brace",
      found: "the end of the file",
    });
  }

  /** Whether this byte is the brace that closes the header. */
  #ends(byte: number): boolean {
    const char = String.fromCharCode(byte);
    switch (this.#state) {
      case "string":
        if (char === '"') this.#state = "text";
        return false;
      case "line_comment":
        if (char === "\n" || char === "\r") this.#state = "text";
        return false;
      case "comment":
        if (char === "*") this.#state = "star";
        return false;
      case "star":
        this.#state = char === "/" ? "text" : char === "*" ? "star" : "comment";
        return false;
      case "slash":
        this.#state = char === "/" ? "line_comment" : char === "*" ? "comment" : "text";
        if (this.#state !== "text") return false;
    }
    if (char === '"') this.#state = "string";
    else if (char === "/") this.#state = "slash";
    else if (char === "{") this.#depth++;
    else if (char === "}") return --this.#depth <= 0;
    return false;
  }
}

type Value =
  | { kind: "string" | "word" | "number"; text: string; line: number }
  | { kind: "list"; items: Value[]; line: number };

interface Token {
  kind: "string" | "word" | "number" | "mark" | "end";
  text: string;
  line: number;
}

/** Parses a whole header. @throws {FirmwareFormatError} `bad_header` with the line */
function parseHeader(text: string): VbfHeader {
  const tokens = new Tokens(text);
  tokens.take("word", "vbf_version");
  tokens.take("mark", "=");
  const version = tokens.next();
  if (version.kind !== "number" || !/^[23]\.\d+$/.test(version.text)) {
    throw bad(version, "version 2.x or 3.x");
  }
  tokens.take("mark", ";");
  tokens.take("word", "header");
  tokens.take("mark", "{");
  const fields = new Map<string, Value>();
  for (;;) {
    const token = tokens.next();
    if (token.kind === "mark" && token.text === "}") break;
    if (token.kind !== "word") throw bad(token, "the name of an identifier, or '}'");
    const name = token.text.toLowerCase();
    if (fields.has(name)) throw bad(token, `${name} once`);
    tokens.take("mark", "=");
    fields.set(name, value(tokens, tokens.next(), 0));
    tokens.take("mark", ";");
  }
  const checksum = numberOf(fields, "file_checksum", 0xffff_ffff);
  if (checksum === undefined) {
    throw new FirmwareFormatError("bad_header", {
      line: 1,
      expected: "file_checksum in the header",
      found: `${fields.size} identifiers without it`,
    });
  }
  return {
    version: version.text,
    partNumber: textOf(fields, "sw_part_number"),
    partType: textOf(fields, "sw_part_type"),
    ecuAddress: numberOf(fields, "ecu_address", 0xffff_ffff),
    dataFormat: numberOf(fields, "data_format_identifier", 0xff) ?? 0,
    erase: rangesOf(fields, "erase"),
    omit: rangesOf(fields, "omit") ?? [],
    call: numberOf(fields, "call", 0xffff_ffff),
    checksum,
  };
}

function value(tokens: Tokens, token: Token, depth: number): Value {
  if (token.kind === "mark" && token.text === "{" && depth < maxDepth) {
    const items: Value[] = [];
    let next = tokens.next();
    // An empty list, and a comma behind the last item, are met in files.
    while (!(next.kind === "mark" && next.text === "}")) {
      items.push(value(tokens, next, depth + 1));
      next = tokens.next();
      if (next.kind === "mark" && next.text === ",") next = tokens.next();
      else if (!(next.kind === "mark" && next.text === "}")) throw bad(next, "',' or '}' in a list");
    }
    return { kind: "list", items, line: token.line };
  }
  if (token.kind === "mark" || token.kind === "end") throw bad(token, "a value");
  return { kind: token.kind, text: token.text, line: token.line };
}

/** Splits the header into words, numbers, strings and marks. */
class Tokens {
  static readonly #pattern =
    /([ \t\r\f]+|\/\/[^\n\r]*|\/\*[^]*?\*\/)|(\n)|"([^"]*)"|(0[xX][0-9A-Fa-f]+|\d+(?:\.\d+)?)(?![A-Za-z0-9_])|([A-Za-z_][A-Za-z0-9_]*)|([={},;])/gy;
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  next(): Token {
    const pattern = Tokens.#pattern;
    while (this.#at < this.#text.length) {
      pattern.lastIndex = this.#at;
      const match = pattern.exec(this.#text);
      const line = this.#line;
      if (match === null) {
        throw new FirmwareFormatError("bad_header", {
          line,
          expected: "a word, a number, a string in quotes or one of = { } , ;",
          found: character(this.#text.charCodeAt(this.#at)),
        });
      }
      this.#at = pattern.lastIndex;
      const [whole, , , string, number, word, mark] = match;
      for (let at = whole.indexOf("\n"); at >= 0; at = whole.indexOf("\n", at + 1)) this.#line++;
      if (string !== undefined) return { kind: "string", text: string, line };
      if (number !== undefined) return { kind: "number", text: number, line };
      if (word !== undefined) return { kind: "word", text: word, line };
      if (mark !== undefined) return { kind: "mark", text: mark, line };
    }
    return { kind: "end", text: "", line: this.#line };
  }

  take(kind: Token["kind"], text: string): void {
    const token = this.next();
    const same = kind === "word" ? token.text.toLowerCase() === text : token.text === text;
    if (token.kind !== kind || !same) throw bad(token, `'${text}'`);
  }
}

function textOf(fields: ReadonlyMap<string, Value>, name: string): string | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  // Some tools write a part number as a list of one.
  const only = value.kind === "list" && value.items.length === 1 ? value.items[0] : value;
  if (only.kind === "list") throw badValue(value, `one value of ${name}`);
  return only.text;
}

function numberOf(fields: ReadonlyMap<string, Value>, name: string, max: number): number | undefined {
  const value = fields.get(name);
  return value === undefined ? undefined : integer(value, name, max);
}

function integer(value: Value, name: string, max: number): number {
  const number = value.kind === "number" ? Number(value.text) : NaN;
  if (!Number.isInteger(number) || number > max) {
    throw badValue(value, `${name} as a number up to 0x${max.toString(16).toUpperCase()}`);
  }
  return number;
}

/** `{ { start, length }, … }`. */
function rangesOf(fields: ReadonlyMap<string, Value>, name: string): Segment[] | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  if (value.kind !== "list") throw badValue(value, `${name} as { { start, length }, … }`);
  if (value.items.length > maxRanges) throw badValue(value, `at most ${maxRanges} ranges of ${name}`);
  return value.items.map((item) => {
    if (item.kind !== "list" || item.items.length !== 2) throw badValue(item, `${name} as { start, length }`);
    const address = integer(item.items[0], `${name} start`, 0xffff_ffff);
    const length = integer(item.items[1], `${name} length`, 2 ** 32);
    if (length < 1 || address + length > 2 ** 32) {
      throw badValue(item.items[1], `${name} of at least 1 byte that ends within 32 bits`);
    }
    return { address, length };
  });
}

function bad(token: Token, expected: string): FirmwareFormatError {
  const found = token.kind === "end" ? "the end of the header" : shown(token.text);
  return new FirmwareFormatError("bad_header", { line: token.line, expected, found });
}

function badValue(value: Value, expected: string): FirmwareFormatError {
  const found = value.kind === "list" ? `a list of ${value.items.length}` : shown(value.text);
  return new FirmwareFormatError("bad_header", { line: value.line, expected, found });
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

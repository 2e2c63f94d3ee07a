// JSON from outside: parsed with a limit on its depth, and refused with the place where it breaks (RFC 8259).

/** Deepest nesting that is taken. Checks of free objects go down one call a level. */
export const maxDepth = 64;

/** Text that is not JSON, or too deep. The message names the line and the column, counted from 1. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
  constructor(reason: string, readonly line: number, readonly column: number) {
    super(`${reason} at line ${line}, column ${column}`);
  }
}

/**
 * Parses UTF-8 JSON.
 * @throws {JsonTextError} with the place
 */
export function parseJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new JsonTextError("expected UTF-8, found other bytes", 1, 1);
  }
  const deep = tooDeepAt(text);
  if (deep >= 0) throw at(text, deep, `expected at most ${maxDepth} levels, found more`);
  try {
    return JSON.parse(text);
  } catch (error) {
    const place = brokenAt(text);
    if (place >= text.length) throw at(text, text.length, "expected more JSON, found the end");
    if (place >= 0) throw at(text, place, `expected JSON, found ${JSON.stringify(text[place])}`);
    throw new JsonTextError(error instanceof Error ? error.message : "expected JSON", 1, 1);
  }
}

function at(text: string, index: number, reason: string): JsonTextError {
  const before = text.slice(0, index);
  const line = before.split("\n").length;
  return new JsonTextError(reason, line, index - before.lastIndexOf("\n"));
}

/** Index of the bracket that goes too deep, or -1. */
function tooDeepAt(text: string): number {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) {
      for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > maxDepth) return i;
    } else if (c === 0x5d || c === 0x7d) depth--;
  }
  return -1;
}

const token =
  /[ \t\n\r]*(?:([[\]{},:])|("(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|true|false|null))/y;

/** Index of the first character that cannot stand where it stands; the text's length when it ends early; -1 for none. */
function brokenAt(text: string): number {
  // What may come next: a value, a key, ":" or "," or the end of what is open.
  type Expect = "value" | "value or ]" | "key" | "key or }" | "colon" | "comma or end" | "nothing";
  const open: ("[" | "{")[] = [];
  let expect: Expect = "value";
  const afterValue = (): Expect => open.length > 0 ? "comma or end" : "nothing";
  for (token.lastIndex = 0;;) {
    const begin = token.lastIndex;
    const match = token.exec(text);
    if (!match) {
      const rest = /[^ \t\n\r]/g;
      rest.lastIndex = begin;
      const next = rest.exec(text);
      if (!next) return expect === "nothing" ? -1 : text.length;
      // A string that never ends is broken at its end, one with a bad escape at its beginning.
      return next[0] === '"' && !/^"(?:[^"\\\n]|\\.)*"/.test(text.slice(next.index))
        ? text.length
        : next.index;
    }
    const here = begin + match[0].length - match[0].trimStart().length;
    const [, mark, string] = match;
    if (mark === undefined) {
      if (expect === "key" || expect === "key or }") {
        if (string === undefined) return here;
        expect = "colon";
      } else if (expect === "value" || expect === "value or ]") expect = afterValue();
      else return here;
      continue;
    }
    if (mark === "[" || mark === "{") {
      if (expect !== "value" && expect !== "value or ]") return here;
      open.push(mark);
      expect = mark === "[" ? "value or ]" : "key or }";
    } else if (mark === "]" || mark === "}") {
      const fits = mark === "]" ? open.at(-1) === "[" : open.at(-1) === "{";
      if (!fits || (expect !== "comma or end" && expect !== (mark === "]" ? "value or ]" : "key or }"))) {
        return here;
      }
      open.pop();
      expect = afterValue();
    } else if (mark === ",") {
      if (expect !== "comma or end") return here;
      expect = open.at(-1) === "{" ? "key" : "value";
    } else {
      if (expect !== "colon") return here;
      expect = "value";
    }
  }
}

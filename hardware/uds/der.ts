// As much of DER (ITU-T X.690) as a certificate needs: elements with their contents, object identifiers, times.
import { CertificateError } from "./authentication.ts";

/** One element. */
export interface DerElement {
  readonly tag: number;
  readonly value: Uint8Array;
  /** Tag, length and contents. */
  readonly whole: Uint8Array;
}

/** One element that fills the bytes. @throws {CertificateError} "format" */
export function readDer(bytes: Uint8Array, tag: number): DerElement {
  const element = readElement(bytes, 0);
  if (element.tag !== tag || element.whole.length !== bytes.length) {
    throw broken(`one element ${tag} of ${bytes.length} bytes`, `${element.tag} of ${element.whole.length}`);
  }
  return element;
}

/** The elements within one. */
export function derChildren(element: DerElement | undefined): DerElement[] {
  if (element === undefined || (element.tag & 0x20) === 0) throw broken("a constructed element", "none");
  const children: DerElement[] = [];
  for (let at = 0; at < element.value.length;) {
    const child = readElement(element.value, at);
    children.push(child);
    at += child.whole.length;
  }
  return children;
}

/** Contents of an element of one type. */
export function derBytes(element: DerElement | undefined, tag: number): Uint8Array {
  if (element?.tag !== tag) throw broken(`element ${tag}`, `${element?.tag ?? "none"}`);
  return element.value;
}

/** A dotted object identifier. */
export function derOid(element: DerElement | undefined): string {
  const bytes = derBytes(element, 0x06);
  const arcs: number[] = [];
  let value = 0;
  for (const byte of bytes) {
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER / 256) throw broken("an arc of 45 bits at most", "a longer one");
    if ((byte & 0x80) !== 0) continue;
    arcs.push(value);
    value = 0;
  }
  if (arcs.length === 0) throw broken("an object identifier", "nothing");
  const first = Math.min(2, Math.floor(arcs[0] / 40));
  return [first, arcs[0] - 40 * first, ...arcs.slice(1)].join(".");
}

/** UTCTime or GeneralizedTime in the form of RFC 5280 4.1.2.5. */
export function derTime(element: DerElement | undefined): Date {
  const text = new TextDecoder().decode(element?.value);
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null || element?.tag !== (match[1].length === 2 ? 0x17 : 0x18)) {
    throw broken("a time", JSON.stringify(text));
  }
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  // Two digits: 50–99 are of the last century.
  const full = match[1].length === 4 ? year : year < 50 ? 2000 + year : 1900 + year;
  return new Date(Date.UTC(full, month - 1, day, hour, minute, second));
}

function readElement(bytes: Uint8Array, at: number): DerElement {
  if (at + 2 > bytes.length) throw broken("an element", "its beginning only");
  const tag = bytes[at];
  let length = bytes[at + 1];
  let head = 2;
  if (length >= 0x80) {
    const width = length & 0x7f;
    // Four bytes are more than any certificate has; none is the indefinite form, which DER does not know.
    if (width < 1 || width > 4 || at + 2 + width > bytes.length) throw broken("a length", "none");
    length = 0;
    for (let index = 0; index < width; index++) length = length * 256 + bytes[at + 2 + index];
    head += width;
  }
  const end = at + head + length;
  if (end > bytes.length) throw broken(`${length} bytes of contents`, `${bytes.length - at - head}`);
  return { tag, value: bytes.subarray(at + head, end), whole: bytes.subarray(at, end) };
}

function broken(expected: string, came: string): CertificateError {
  return new CertificateError("format", `certificate: expected ${expected}, got ${came}`);
}

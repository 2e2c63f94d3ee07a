// Conditional and range requests on one file (RFC 9110 sections 13 and 14), as a decision without any input or output.

/** First and last byte, both included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

export type RangeDecision =
  | { readonly status: 200 }
  | { readonly status: 206; readonly range: ByteRange }
  | { readonly status: 304 }
  | { readonly status: 412 }
  | { readonly status: 416 };

export interface RangeRequest {
  readonly method: string;
  readonly ifMatch?: string;
  readonly ifNoneMatch?: string;
  readonly range?: string;
  readonly ifRange?: string;
}

/** Most ranges that are read in one header. */
const maxRanges = 100;

/**
 * What to answer, in the order of RFC 9110 section 13.2.2.
 *
 * Several ranges are answered with the whole representation, which section 14.2 allows: a server MAY ignore the field.
 *
 * @param etag strong entity tag of the file, with its quotes
 * @param size bytes of the file
 */
export function decideRange(request: RangeRequest, etag: string, size: number): RangeDecision {
  // Section 13.1.1: strong comparison.
  if (request.ifMatch !== undefined && !matches(request.ifMatch, etag, true)) return { status: 412 };
  // Section 13.1.2: weak comparison.
  if (request.ifNoneMatch !== undefined && matches(request.ifNoneMatch, etag, false)) return { status: 304 };
  // Section 14.2: Range has a meaning for GET alone.
  if (request.range === undefined || request.method !== "GET") return { status: 200 };
  // Section 13.1.5: strong comparison. There is no modification date here, so a date never matches.
  if (request.ifRange !== undefined && request.ifRange.trim() !== etag) return { status: 200 };
  const ranges = parseRanges(request.range, size);
  if (ranges === undefined) return { status: 200 };
  if (ranges.length === 0) return { status: 416 };
  return ranges.length === 1 ? { status: 206, range: ranges[0] } : { status: 200 };
}

/** Whether a list of entity tags, or `*`, names this one. */
function matches(list: string, etag: string, strong: boolean): boolean {
  if (list.trim() === "*") return true;
  for (const [tag, weak] of list.matchAll(/(W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g)) {
    if (weak !== undefined ? !strong && tag.slice(2) === etag : tag === etag) return true;
  }
  return false;
}

/**
 * The satisfiable ranges of a Range field (section 14.1.2).
 * @returns undefined for another unit or a field that is not well formed: both are ignored (section 14.2)
 */
function parseRanges(field: string, size: number): ByteRange[] | undefined {
  const match = /^bytes=(.*)$/i.exec(field.trim());
  if (!match) return undefined;
  const specs = match[1].split(",").map((spec) => spec.trim()).filter((spec) => spec !== "");
  if (specs.length === 0 || specs.length > maxRanges) return undefined;
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    const parts = /^(\d*)-(\d*)$/.exec(spec);
    if (!parts || (parts[1] === "" && parts[2] === "")) return undefined;
    const [, from, to] = parts;
    if (from === "") {
      const suffix = Number(to);
      if (suffix > 0 && size > 0) ranges.push({ first: Math.max(0, size - suffix), last: size - 1 });
      continue;
    }
    const first = Number(from);
    const last = to === "" ? size - 1 : Number(to);
    if (to !== "" && last < first) return undefined;
    if (first < size) ranges.push({ first, last: Math.min(last, size - 1) });
  }
  return ranges;
}

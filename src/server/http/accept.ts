// Whether a client takes what it would get, and whether it sent what can be read (RFC 9110 section 12.5.1, 8.3).

/** Whether `Accept` allows the media type. A missing field allows everything. */
export function accepts(field: string | undefined, mediaType: string): boolean {
  if (field === undefined || field.trim() === "") return true;
  const [type] = mediaType.split("/");
  // Section 12.5.1: the most specific range that matches decides.
  let best = -1;
  let quality = 0;
  for (const item of field.split(",")) {
    const [range, ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    const rank = range === mediaType ? 2 : range === `${type}/*` ? 1 : range === "*/*" ? 0 : -1;
    if (rank <= best) continue;
    best = rank;
    const q = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    quality = q === undefined ? 1 : Number(q);
  }
  return best >= 0 && quality > 0;
}

/** Whether a Content-Type is JSON in UTF-8, the only charset that JSON has (RFC 8259 section 8.1). */
export function isJson(contentType: string | undefined): boolean {
  if (contentType === undefined) return false;
  const [type, ...parameters] = contentType.split(";").map((part) => part.trim().toLowerCase());
  if (type !== "application/json" && !/^application\/[a-z0-9!#$&^_.+-]+\+json$/.test(type)) return false;
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice(8);
  return charset === undefined || /^"?utf-?8"?$/.test(charset);
}

// An image of the catalogue as a target of the Image repository: its name there, and what is signed of it. Server, vehicle and
// version reports name it alike.

import { createHash } from "node:crypto";
import type { PackageDownload, PackageSegment } from "../contract/package.ts";
import { canonicalJson } from "./canonical_json.ts";
import type { Hashes, Target } from "./models.ts";

/** Which image: unique in the catalogue. */
export interface ImageName {
  readonly ecuType: string;
  readonly hwVersion: string;
  readonly version: string;
}

/** Longest part of a name, in characters. */
const longestPart = 80;

/**
 * Name of an image in both repositories, `{ecu_type}/{hw_version}/{version}.bin`. What an ECU gives as its hardware may hold any
 * printable character: those that names of images do not take (see `targetName` in models.ts) stand as `~` and two hexadecimal
 * digits for each byte of UTF-8. Different images have different names.
 */
export function imageTargetName({ ecuType, hwVersion, version }: ImageName): string {
  return `${namePart(ecuType)}/${namePart(hwVersion)}/${namePart(version)}.bin`;
}

/** One part of a name. `~~` comes from nowhere else: it marks what was put before a part, or stands for a long one. */
function namePart(text: string): string {
  const escaped = text.replaceAll(
    /[^A-Za-z0-9_.+-]/gu,
    (character) => [...new TextEncoder().encode(character)].map((it) => `~${hex(it)}`).join(""),
  );
  if (escaped.length > longestPart) return `_~~${createHash("sha256").update(text).digest("hex")}`;
  return /^[A-Za-z0-9_]/.test(escaped) ? escaped : `_~~${escaped}`;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** Where an image's bytes go in the ECU's memory, and what the firmware file says of its download. */
export interface ImageLayout {
  readonly segments: readonly PackageSegment[];
  /** @default null, the file says nothing of it */
  readonly download?: PackageDownload | null;
}

/**
 * SHA-256 of an image's layout, 64 hexadecimal digits: over the canonical form of
 * `{"download": …or null, "segments": [{"address": …, "length": …}, …]}`. Signed with the image, so that nobody puts good bytes at
 * a wrong address.
 */
export function layoutHash({ segments, download = null }: ImageLayout): string {
  const form = canonicalJson({
    download: download === null ? null : {
      ...download.data_format === undefined ? {} : { data_format: download.data_format },
      ...download.erase === undefined ? {} : { erase: download.erase.map(place) },
      ...download.call === undefined ? {} : { call: download.call },
    },
    segments: segments.map(place),
  });
  return createHash("sha256").update(form).digest("hex");
}

function place({ address, length }: PackageSegment): { address: number; length: number } {
  return { address, length };
}

/** An image of the catalogue. */
export interface CatalogueImage extends ImageName, ImageLayout {
  /** Of the payload: the bytes of all segments, one after another. */
  readonly sha256: string;
  readonly size: number;
  /** Goes up with each release for the same hardware. @default 0 */
  readonly releaseCounter?: number;
}

/** The image as it stands in the Image repository's targets. */
export function imageTarget(image: CatalogueImage): Target {
  const { ecuType, hwVersion, version, sha256, size, releaseCounter = 0 } = image;
  return {
    length: size,
    hashes: { sha256 },
    custom: {
      must_match: {
        hardware_ids: [hwVersion],
        ecu_types: [ecuType],
        version,
        release_counter: releaseCounter,
        layout_sha256: layoutHash(image),
      },
    },
  };
}

/**
 * Software of which nothing but its name is known, as it stands in a gateway's report for an ECU that signs none: length and hash
 * are the name's own. No image in the catalogue can be it.
 */
export function imageByName(filename: string): { readonly length: number; readonly hashes: Hashes } {
  const bytes = new TextEncoder().encode(filename);
  return { length: bytes.length, hashes: { sha256: createHash("sha256").update(bytes).digest("hex") } };
}

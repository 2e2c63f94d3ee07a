// The catalogue: firmware images by ECU type, hardware and version, and where their bytes lie.
import semver from "semver";
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { ConflictError, InvalidArgumentError, NotFoundError } from "./errors.ts";
import { isUuid, selectPage, Where } from "./page.ts";
import type { Page, PageRequest } from "./page.ts";

export type ImageFormat = "intel-hex" | "s-record" | "vbf" | "binary";
export type ImagePriority = "low" | "normal" | "high" | "critical";

/** A run of consecutive bytes in the ECU's address space. */
export interface ImageSegment {
  address: number;
  length: number;
}

/** What a firmware file says of its own download. */
export interface ImageDownload {
  dataFormat?: number;
  erase?: readonly ImageSegment[];
  call?: number;
}

/** An ECU type that an image needs, running this version or a newer one. */
export interface ImageDependency {
  ecuType: string;
  /** @default any */
  version?: string;
}

/** A measured value within limits, which must hold before an image is installed. */
export interface ImageCondition {
  signal: string;
  min?: number;
  max?: number;
}

/** The payload in compressed form. */
export interface ImageBlob {
  sha256: string;
  length: number;
  encoding: string;
}

export interface ImageInput {
  ecuType: string;
  hwVersion: string;
  /** A semantic version. */
  version: string;
  format: ImageFormat;
  fileName?: string | null;
  /** Of the file as it came. */
  sha256: string;
  size: number;
  segments: readonly ImageSegment[];
  /** @default null, the file says nothing of it */
  download?: ImageDownload | null;
  /** Of all segments' bytes, one after another. */
  payloadSha256: string;
  payloadSize: number;
  /** @default null, not compressed yet */
  blob?: ImageBlob | null;
  /** Whether vehicles get it. @default true */
  released?: boolean;
  /** @default "normal" */
  priority?: ImagePriority;
  /** Release counter. @default null, none was given */
  release?: number | null;
  /** @default none */
  dependsOn?: readonly ImageDependency[];
  /** @default none */
  conditions?: readonly ImageCondition[];
}

export interface Image {
  imageId: string;
  ecuType: string;
  hwVersion: string;
  version: string;
  format: ImageFormat;
  fileName: string | null;
  sha256: string;
  size: number;
  segments: ImageSegment[];
  download: ImageDownload | null;
  payloadSha256: string;
  payloadSize: number;
  blob: ImageBlob | null;
  released: boolean;
  priority: ImagePriority;
  release: number | null;
  dependsOn: ImageDependency[];
  conditions: ImageCondition[];
  created: Date;
}

export interface ImageFilter extends PageRequest {
  ecuType?: string;
  hwVersion?: string;
  released?: boolean;
}

/** What an image is for. */
export interface ImageTarget {
  ecuType: string;
  hwVersion: string;
}

const COLUMNS =
  `image_id, ecu_type, hw_version, version, format, file_name, file_sha256 as sha256, file_size as size,
  segments, download, payload_sha256, payload_size, released, priority, release, depends_on, conditions, created,
  case when blob_sha256 is null then null
    else jsonb_build_object('sha256', blob_sha256, 'length', blob_length, 'encoding', blob_encoding) end as blob`;

export class Images {
  constructor(private readonly context: Context) {}

  /**
   * Enters an image.
   * @throws ConflictError when this version for this type and hardware is there already (`existing` is its image_id)
   * @throws InvalidArgumentError when the version is no semantic version
   */
  async add(input: ImageInput): Promise<Image> {
    if (semver.valid(input.version) !== input.version) {
      throw new InvalidArgumentError("version", "a semantic version such as 1.10.0", input.version);
    }
    const { sql } = this.context;
    const [image] = await sql.query<Image>(
      `insert into images (image_id, ecu_type, hw_version, version, format, file_name, file_sha256, file_size, segments,
         payload_sha256, payload_size, blob_sha256, blob_length, blob_encoding, released, priority, created,
         download, release, depends_on, conditions)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
       on conflict (ecu_type, hw_version, version) do nothing returning ${COLUMNS}`,
      [
        this.context.newId(),
        input.ecuType,
        input.hwVersion,
        input.version,
        input.format,
        input.fileName ?? null,
        input.sha256,
        input.size,
        json(input.segments),
        input.payloadSha256,
        input.payloadSize,
        input.blob?.sha256 ?? null,
        input.blob?.length ?? null,
        input.blob?.encoding ?? null,
        input.released ?? true,
        input.priority ?? "normal",
        this.context.now(),
        input.download ? json(input.download) : null,
        input.release ?? null,
        json(input.dependsOn ?? []),
        json(input.conditions ?? []),
      ],
    );
    if (image) return image;
    const [existing] = await sql.query<{ imageId: string }>(
      "select image_id from images where ecu_type = $1 and hw_version = $2 and version = $3",
      [input.ecuType, input.hwVersion, input.version],
    );
    throw new ConflictError(
      `the catalogue has version ${input.version} for ${input.ecuType} on ${input.hwVersion} already`,
      existing?.imageId ?? "",
    );
  }

  async find(imageId: string): Promise<Image | null> {
    if (!isUuid(imageId)) return null;
    const [image] = await this.context.sql.query<Image>(`select ${COLUMNS} from images where image_id = $1`, [
      imageId,
    ]);
    return image ?? null;
  }

  /** The image of exactly this version for this target, released or not. */
  async findVersion(target: ImageTarget, version: string): Promise<Image | null> {
    const [image] = await this.context.sql.query<Image>(
      `select ${COLUMNS} from images where ecu_type = $1 and hw_version = $2 and version = $3`,
      [target.ecuType, target.hwVersion, version],
    );
    return image ?? null;
  }

  /** Bytes of the payload with this hash; null when no image has it. */
  async payloadSize(sha256: string): Promise<number | null> {
    const [found] = await this.context.sql.query<{ payloadSize: number }>(
      "select payload_size from images where payload_sha256 = $1 limit 1",
      [sha256],
    );
    return found?.payloadSize ?? null;
  }

  /** Newest entry first. */
  async list(filter: ImageFilter = {}): Promise<Page<Image>> {
    const where = new Where().and("ecu_type = ?", filter.ecuType).and("hw_version = ?", filter.hwVersion)
      .and("released = ?", filter.released);
    return await selectPage(
      this.context.sql,
      { columns: COLUMNS, from: "images", where, order: "seq desc" },
      filter,
    );
  }

  /** Every released image for any of these targets, in one query, in no particular order. */
  async released(targets: readonly ImageTarget[]): Promise<Image[]> {
    return await this.#ofTargets(targets, "released and");
  }

  /** Every image for any of these targets, released or not, in one query, in no particular order. */
  async ofTargets(targets: readonly ImageTarget[]): Promise<Image[]> {
    return await this.#ofTargets(targets, "");
  }

  async #ofTargets(targets: readonly ImageTarget[], condition: string): Promise<Image[]> {
    return await this.context.sql.query<Image>(
      `select ${COLUMNS} from images where ${condition} (ecu_type, hw_version) in (
         select t.ecu_type, t.hw_version from jsonb_to_recordset($1::jsonb) as t(ecu_type text, hw_version text))`,
      [json(targets.map((target) => ({ ecu_type: target.ecuType, hw_version: target.hwVersion })))],
    );
  }

  /** The newest released image of each target that has one, by semantic version, keyed with `targetKey`. */
  async newestReleased(targets: readonly ImageTarget[]): Promise<Map<string, Image>> {
    const newest = new Map<string, Image>();
    for (const image of await this.released(targets)) {
      const key = targetKey(image);
      const best = newest.get(key);
      if (best === undefined || compareVersions(image, best) > 0) newest.set(key, image);
    }
    return newest;
  }

  /** Releases an image or takes it back. @throws NotFoundError */
  async setReleased(imageId: string, released: boolean): Promise<Image> {
    return await this.#change(imageId, "released = $2", [released]);
  }

  /** Stores how the payload was compressed. @throws NotFoundError */
  async setBlob(imageId: string, blob: ImageBlob): Promise<Image> {
    return await this.#change(imageId, "blob_sha256 = $2, blob_length = $3, blob_encoding = $4", [
      blob.sha256,
      blob.length,
      blob.encoding,
    ]);
  }

  async #change(imageId: string, assignments: string, params: (string | number | boolean)[]): Promise<Image> {
    if (!isUuid(imageId)) throw new NotFoundError("image", imageId);
    const [image] = await this.context.sql.query<Image>(
      `update images set ${assignments} where image_id = $1 returning ${COLUMNS}`,
      [imageId, ...params],
    );
    if (image === undefined) throw new NotFoundError("image", imageId);
    return image;
  }
}

/** One text for a target, for maps. */
export function targetKey(target: ImageTarget): string {
  return JSON.stringify([target.ecuType, target.hwVersion]);
}

/** By semantic version; equal ones (they differ in build metadata only, semver.org §10) by when they were entered. */
function compareVersions(a: Image, b: Image): number {
  return semver.compare(a.version, b.version) || a.created.getTime() - b.created.getTime();
}

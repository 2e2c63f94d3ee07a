// The firmware catalogue: a file comes in as a stream, is parsed into addressed segments, compressed and entered.

import { FirmwareFormatError } from "../../../hardware/flash/format/errors.ts";
import { parseFirmware } from "../../../hardware/flash/format/parse_firmware.ts";
import { compressImage } from "../../codec/compress_image.ts";
import type { CodecPool } from "../../codec/pool.ts";
import type { Firmware, FirmwareUpload } from "../../contract/ota.ts";
import type { PackageDownload } from "../../contract/package.ts";
import { formatCondition, formatDependency } from "../../contract/requirements.ts";
import type { Logger } from "../../log.ts";
import {
  blobPath,
  type DataFiles,
  hasFile,
  payloadPath,
  removeFile,
  settleFile,
  temporaryPath,
} from "../files.ts";
import { ConflictError } from "../store/errors.ts";
import type { Image, ImageBlob, ImageDownload, ImageInput, Store } from "../store/mod.ts";
import type { ImageRepository, Publication } from "../uptane/image_repository.ts";
import { findRollback } from "./requirements.ts";

export interface CatalogueOptions {
  store: Store;
  /** Where images are published. */
  repository: Pick<ImageRepository, "publish">;
  files: DataFiles;
  pool: CodecPool;
  /** zstd level. @default 3 */
  compressionLevel?: number;
  log: Logger;
}

/** The file is not firmware of the format that it should have, or not to be released as it is. `line` counts from 1. */
export class FirmwareRefused extends Error {
  override readonly name = "FirmwareRefused";
  constructor(
    message: string,
    readonly code: string,
    readonly line: number | undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A payload that the catalogue names is not on the disk. */
export class PayloadMissing extends Error {
  override readonly name = "PayloadMissing";
}

export class Catalogue {
  readonly #store: Store;
  readonly #repository: CatalogueOptions["repository"];
  readonly #files: DataFiles;
  readonly #pool: CodecPool;
  readonly #level: number;
  readonly #log: Logger;

  constructor({ store, repository, files, pool, compressionLevel = 3, log }: CatalogueOptions) {
    this.#store = store;
    this.#repository = repository;
    this.#files = files;
    this.#pool = pool;
    this.#level = compressionLevel;
    this.#log = log;
  }

  /**
   * Takes a firmware file. The same file for the same target and version again gives the image that is there.
   * Whatever goes wrong, nothing of it stays.
   * @throws {FirmwareRefused} when it is not what its format says
   * @throws {ConflictError} when the version is there with another content
   */
  async add(
    source: AsyncIterable<Uint8Array>,
    upload: FirmwareUpload,
    signal?: AbortSignal,
  ): Promise<Firmware> {
    const { ecu_type, hw_version, version, format, base_address, priority, file_name, release } = upload;
    const { depends_on = [], conditions = [] } = upload;
    const temporary = temporaryPath(this.#files);
    try {
      const parsed = await parse(source, { output: temporary, format, baseAddress: base_address, signal });
      const sha256 = parsed.fileSha256.toHex();
      const payloadSha256 = parsed.payloadSha256.toHex();
      const known = await this.#known(upload, sha256, payloadSha256);
      const payload = payloadPath(this.#files, payloadSha256);
      if (known) {
        // Where the disk has lost it, this brings it back.
        await settleFile(temporary, payload);
        return toFirmware(known, await this.#repository.publish(known));
      }
      await this.#checkRelease(upload);

      await settleFile(temporary, payload);
      const blob = await this.#compress(payload, payloadSha256, signal);
      const image = await this.#enter(upload, {
        ecuType: ecu_type,
        hwVersion: hw_version,
        version,
        format: parsed.format,
        fileName: file_name,
        sha256,
        size: parsed.fileSize,
        segments: parsed.segments,
        download: parsed.hints,
        payloadSha256,
        payloadSize: parsed.payloadSize,
        blob,
        priority,
        // Until it stands in the Image repository.
        released: false,
        release,
        dependsOn: depends_on.map(({ ecu_type, version }) => ({ ecuType: ecu_type, version })),
        conditions,
      });
      this.#log.info(`Firmware ${version} for ${ecu_type} (${hw_version}) entered`, {
        image_id: image.imageId,
        size: parsed.payloadSize,
        compressed: blob.length,
      });
      return toFirmware(image, await this.#repository.publish(image));
    } finally {
      await removeFile(temporary);
    }
  }

  /** Enters an image; of two uploads of the same file at once, the second finds what the first has entered. */
  async #enter(upload: FirmwareUpload, input: ImageInput): Promise<Image> {
    try {
      return await this.#store.images.add(input);
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      const known = await this.#known(upload, input.sha256, input.payloadSha256);
      if (!known) throw error;
      return known;
    }
  }

  async list(filter: { limit: number; offset: number; ecu_type?: string }) {
    const { items, total } = await this.#store.images.list({
      limit: filter.limit,
      offset: filter.offset,
      ecuType: filter.ecu_type,
    });
    return { images: items.map((image) => toFirmware(image)), total };
  }

  /**
   * The image's compressed form, made again where the file is gone.
   * @throws {PayloadMissing} when the payload is gone as well
   */
  async blob(image: Image, signal?: AbortSignal): Promise<ImageBlob & { path: string }> {
    if (image.blob) {
      const path = blobPath(this.#files, image.blob.sha256);
      if (await hasFile(path, image.blob.length)) return { ...image.blob, path };
    }
    const payload = payloadPath(this.#files, image.payloadSha256);
    if (!await hasFile(payload, image.payloadSize)) {
      throw new PayloadMissing(
        `the payload of ${image.ecuType} ${image.version} (image ${image.imageId}) is not on the disk: ` +
          `expected ${image.payloadSize} bytes at ${payload}`,
      );
    }
    const blob = await this.#compress(payload, image.payloadSha256, signal);
    await this.#store.images.setBlob(image.imageId, blob);
    return { ...blob, path: blobPath(this.#files, blob.sha256) };
  }

  async #compress(payload: string, sha256: string, signal?: AbortSignal): Promise<ImageBlob> {
    const temporary = temporaryPath(this.#files);
    try {
      const made = await compressImage(payload, temporary, { level: this.#level, pool: this.#pool, signal });
      if (made.inputSha256 !== sha256) {
        throw new PayloadMissing(`expected the payload ${sha256} at ${payload}, found ${made.inputSha256}`);
      }
      await settleFile(temporary, blobPath(this.#files, made.sha256));
      return { sha256: made.sha256, length: made.length, encoding: "zstd" };
    } finally {
      await removeFile(temporary);
    }
  }

  /**
   * ECUs take no release below the one that they have committed: a newer version must not have one.
   * @throws {FirmwareRefused}
   */
  async #checkRelease(
    { ecu_type, hw_version, version, release, depends_on = [] }: FirmwareUpload,
  ): Promise<void> {
    if (depends_on.some((needed) => needed.ecu_type === ecu_type)) {
      throw new FirmwareRefused(
        `an image for ${ecu_type} cannot depend on ${ecu_type}: of several such ECUs each would wait for the others`,
        "depends_on_itself",
        undefined,
      );
    }
    const others = await this.#store.images.ofTargets([{ ecuType: ecu_type, hwVersion: hw_version }]);
    const found = findRollback({ version, release: release ?? null }, others);
    if (found === undefined) return;
    const { older, newer } = found;
    throw new FirmwareRefused(
      `version ${newer.version} for ${ecu_type} (${hw_version}) would have release ${
        newer.release ?? 0
      }, below release ` +
        `${older.release} of the older version ${older.version}: an ECU that has committed ${older.version} refuses it ` +
        `(anti-rollback). ` +
        (newer.version === version
          ? `Give --release ${older.release} or more`
          : `Give --release ${newer.release ?? 0} or less`),
      "release_rollback",
      undefined,
    );
  }

  /** The image of this version, where it is there already with the same content. @throws {ConflictError} with another */
  async #known(
    upload: FirmwareUpload,
    fileSha256: string,
    payloadSha256: string,
  ): Promise<Image | undefined> {
    const { ecu_type: ecuType, hw_version: hwVersion, version } = upload;
    const image = await this.#store.images.findVersion({ ecuType, hwVersion }, version);
    if (!image) return undefined;
    if (image.sha256 === fileSha256 && image.payloadSha256 === payloadSha256) {
      const [before, now] = [requirementsText(toFirmware(image)), requirementsText(upload)];
      if (before === now) return image;
      throw new ConflictError(
        `version ${version} for ${ecuType} (${hwVersion}) is in the catalogue with ${before}, this upload has ${now}: ` +
          `what was released does not change; add it as a newer version`,
        image.imageId,
      );
    }
    throw new ConflictError(
      `version ${version} for ${ecuType} (${hwVersion}) is in the catalogue with another content: ` +
        `image ${image.imageId}, SHA-256 ${image.sha256}; this file has ${fileSha256}`,
      image.imageId,
    );
  }
}

/** What an image asks for, as text that is the same for the same. */
function requirementsText(
  { release, depends_on = [], conditions = [] }: Pick<
    Firmware | FirmwareUpload,
    "release" | "depends_on" | "conditions"
  >,
): string {
  return [
    release === undefined || release === null ? "no release counter" : `release ${release}`,
    `dependencies: ${depends_on.map(formatDependency).sort().join(", ") || "none"}`,
    `conditions: ${conditions.map(formatCondition).sort().join(", ") || "none"}`,
  ].join("; ");
}

async function parse(
  source: AsyncIterable<Uint8Array>,
  options: Parameters<typeof parseFirmware>[1],
): ReturnType<typeof parseFirmware> {
  try {
    return await parseFirmware(source, options);
  } catch (error) {
    if (error instanceof FirmwareFormatError) {
      throw new FirmwareRefused(error.message, error.code, error.line, { cause: error });
    }
    if (error instanceof RangeError) {
      throw new FirmwareRefused(error.message, "bad_option", undefined, { cause: error });
    }
    throw error;
  }
}

/** What the file says of its download, as the wire has it. */
export function toDownload({ dataFormat, erase, call }: ImageDownload): PackageDownload {
  return {
    ...dataFormat === undefined ? {} : { data_format: dataFormat },
    ...erase === undefined ? {} : { erase: erase.map(({ address, length }) => ({ address, length })) },
    ...call === undefined ? {} : { call },
  };
}

/** @param publication where it stands, for one that was just entered; others tell it themselves */
export function toFirmware(image: Image, publication?: Publication): Firmware {
  return {
    image_id: image.imageId,
    ecu_type: image.ecuType,
    hw_version: image.hwVersion,
    version: image.version,
    format: image.format,
    priority: image.priority,
    file_name: image.fileName,
    sha256: image.sha256,
    size: image.size,
    payload_sha256: image.payloadSha256,
    payload_size: image.payloadSize,
    segments: image.segments,
    ...image.download === null ? {} : { download: toDownload(image.download) },
    release: image.release,
    depends_on: image.dependsOn.map(({ ecuType, version }) => ({
      ecu_type: ecuType,
      ...version === undefined ? {} : { version },
    })),
    conditions: image.conditions,
    created: image.created.toISOString(),
    target: publication?.state ?? (image.released ? "published" : "staged"),
    ...publication?.state === "staged" && publication.file !== undefined
      ? { staged_file: publication.file }
      : {},
  };
}

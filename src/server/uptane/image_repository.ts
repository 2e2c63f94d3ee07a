// The Image repository as the server works with it: gives its metadata out, publishes what the catalogue has, and keeps it fresh.
// The folder is shared with `zonebench repo` and with other servers: all of it is read as it is now, and changed under its lock.

import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { describeError, type Logger } from "../../log.ts";
import { AuthorError } from "../../uptane/author.ts";
import { EnvelopeError } from "../../uptane/envelope.ts";
import { imageTarget, imageTargetName } from "../../uptane/image_target.ts";
import { type Target, targetSchema } from "../../uptane/models.ts";
import { type DataFiles, hasFile, payloadPath } from "../files.ts";
import { toDownload } from "../ota/catalogue.ts";
import type { Image, Store } from "../store/mod.ts";
import { type GivenOut, givenOut } from "./given_out.ts";
import { RepositoryAuthor } from "./repository_author.ts";
import type { Validity, Written } from "./roles.ts";
import { ShownImages } from "./shown_images.ts";
import { type RepositoryDirectory, RepositoryDirectoryError } from "./repository_directory.ts";
import { renewal } from "./renewal.ts";

export interface ImageRepositoryOptions {
  directory: RepositoryDirectory;
  validity: Validity;
  store: Store;
  files: DataFiles;
  log: Logger;
}

/** Where an image stands. */
export type Publication =
  | { readonly state: "published" }
  /** What to sign, within the folder of the repositories; undefined when something else is in the way, which the log says. */
  | { readonly state: "staged"; readonly file: string | undefined };

/** Between two tries to publish what could not be published, ms. */
const retryInterval = 60_000;
/** Texts that are remembered as said. */
const mostSaid = 100;
/** Images that are looked at together. */
const page = 500;

export class ImageRepository {
  readonly #options: ImageRepositoryOptions;
  readonly #shown: ShownImages;
  /** What the folder was when the catalogue was last held against it. */
  #settled = "";
  #due = 0;
  readonly #said = new Set<string>();

  constructor(options: ImageRepositoryOptions) {
    this.#options = options;
    this.#shown = new ShownImages(options.directory);
  }

  /** A metadata file; undefined if there is none. @param fileName as the contract has checked it */
  async file(fileName: string): Promise<GivenOut | undefined> {
    return givenOut(await this.#options.directory.read("image", fileName));
  }

  /** An image as vehicles find it; undefined when they do not, or find something else by its name. */
  async published(image: Image): Promise<{ filename: string; target: Target } | undefined> {
    const { filename, target } = targetOf(image);
    const found = await this.#shown.find({ name: filename, hardwareIds: [image.hwVersion] });
    return found !== undefined && sameTarget(found.target, target)
      ? { filename, target: found.target }
      : undefined;
  }

  /** Publishes an image, or stages it when keys are missing. Vehicles get it once it is published. */
  async publish(image: Image): Promise<Publication> {
    if (await this.#release(image)) return { state: "published" };
    await this.#publishAll([image]);
    if (await this.#release(image)) return { state: "published" };
    const { directory, validity } = this.#options;
    const role = await roleOf(image, new RepositoryAuthor(directory, new Date(), validity));
    const waiting = (await directory.staged()).find((it) => it.repository === "image" && it.role === role);
    return { state: "staged", file: waiting && join("staged", "image", waiting.fileName) };
  }

  /**
   * One round: metadata that gets old is made anew, and when the folder has changed, or something waits, the catalogue is held
   * against it. What the repository refuses is logged; it is tried again.
   */
  async maintain(now: number = Date.now()): Promise<void> {
    if (now < this.#due && await this.#shown.stamp() === this.#settled) return;
    const { directory, validity, log } = this.#options;
    const renewed = await this.#guarded("renewed", () => renewal(directory, validity, new Date(now)));
    for (const text of renewed?.lacking ?? []) this.#sayOnce(text);
    const missing: Image[] = [];
    const released: Image[] = [];
    const look = async (image: Image, otherwise: Image[]) => {
      const before = image.released;
      if (!await this.#release(image)) otherwise.push(image);
      else if (!before) released.push(image);
    };
    for await (const image of this.#catalogue()) await look(image, missing);
    await this.#publishAll(missing);
    const waiting: Image[] = [];
    for (const image of missing) await look(image, waiting);
    if (released.length > 0) log.info(`${released.length} image(s) of the catalogue published`);
    this.#settled = await this.#shown.stamp();
    const retry = waiting.length > 0 || renewed === undefined ? now + retryInterval : Infinity;
    this.#due = Math.min(renewed?.due ?? Infinity, retry);
  }

  async *#catalogue(): AsyncGenerator<Image> {
    for (let offset = 0;; offset += page) {
      const { items } = await this.#options.store.images.list({ limit: page, offset });
      yield* items;
      if (items.length < page) return;
    }
  }

  /** Vehicles get what is published, and nothing else. @param image brought up to date @returns {Promise} whether it is */
  async #release(image: Image): Promise<boolean> {
    const released = await this.published(image) !== undefined;
    if (released === image.released) return released;
    await this.#options.store.images.setReleased(image.imageId, released);
    image.released = released;
    return released;
  }

  /** Each image goes into the role that vehicles look for it in. */
  async #publishAll(images: readonly Image[]): Promise<void> {
    if (images.length === 0) return;
    const { directory, validity } = this.#options;
    const made = await this.#guarded("published", async () => {
      const author = new RepositoryAuthor(directory, new Date(), validity);
      const byRole = new Map<string, Record<string, Target>>();
      for (const image of images) {
        const { filename, target } = targetOf(image);
        if (!await this.#place(image, filename)) continue;
        const role = await roleOf(image, author);
        byRole.set(role, { ...byRole.get(role), [filename]: target });
      }
      const files: { role: string; written: Written }[] = [];
      for (const [role, targets] of byRole) {
        try {
          const written = await author.publish(targets, { role, intoStaged: true });
          if (written !== undefined) files.push({ role, written });
        } catch (error) {
          // What is wrong with one role does not keep the images of others back.
          if (!refusedByRepository(error)) throw error;
          this.#sayOnce(`Nothing is published into ${role}: ${describeError(error)}`);
        }
      }
      if (files.length === 0) {
        // An earlier try may have come as far as the targets, before the disk failed: what is not shown yet is.
        await renewal(directory, validity, new Date());
      } else if (files.some(({ written }) => written.staged === undefined)) await author.release();
      return files;
    }) ?? [];
    for (const { role, written } of made) this.#sayStaged(role, written, images.length);
  }

  #sayStaged(role: string, { fileName, staged }: Written, images: number): void {
    if (staged === undefined) return;
    const { directory, log } = this.#options;
    const { signatures, threshold } = staged;
    const whose = role === "targets" ? "" : ` of the delegated role ${role}, whose keys are not here`;
    log.warn(
      `Images staged: ${
        join(directory.path, "staged", "image", fileName)
      } has ${signatures} of ${threshold} ` +
        `signatures${whose}; add them with "zonebench repo sign", then run "zonebench repo publish"`,
      { images },
    );
  }

  /**
   * Puts the payload beside the metadata, for those who read the folder: a link, and where none can be made, a copy.
   *
   * @returns {Promise} false when the payload is gone: then it is not published
   */
  async #place(image: Image, filename: string): Promise<boolean> {
    const { directory, files } = this.#options;
    const path = directory.imagePath(filename, image.payloadSha256);
    const payload = payloadPath(files, image.payloadSha256);
    if (!await hasFile(payload, image.payloadSize)) {
      this.#sayOnce(`${filename} is not published: its payload is not at ${payload}`);
      return false;
    }
    await Deno.mkdir(dirname(path), { recursive: true });
    if (await hasFile(path, image.payloadSize)) return true;
    const draft = `${path}.${crypto.randomUUID()}.tmp`;
    try {
      try {
        await Deno.link(payload, draft);
      } catch {
        // Another file system, or one that has no links.
        await Deno.copyFile(payload, draft);
        using copy = await Deno.open(draft, { read: true, write: true });
        await copy.sync();
      }
      await Deno.rename(draft, path);
    } catch (error) {
      // What went wrong first is what to report, not that the remains could not be removed.
      await Deno.remove(draft).catch(() => {});
      throw error;
    }
    return true;
  }

  /** Works under the folder's lock; what the repository refuses is logged, and gives undefined. */
  async #guarded<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    const { directory } = this.#options;
    try {
      return await directory.locked(work);
    } catch (error) {
      if (!refusedByRepository(error)) throw error;
      this.#sayOnce(`Nothing is ${what} in the Image repository: ${describeError(error)}`);
      return undefined;
    }
  }

  /** A round comes every few seconds: what stays the same is said once. */
  #sayOnce(text: string): void {
    if (this.#said.has(text)) return;
    if (this.#said.size === mostSaid) this.#said.clear();
    this.#said.add(text);
    this.#options.log.warn(text);
  }
}

/** Whether it is the repository's own affair: its files, what it takes, who must sign. */
function refusedByRepository(error: unknown): boolean {
  return error instanceof RepositoryDirectoryError || error instanceof AuthorError ||
    error instanceof EnvelopeError || error instanceof Deno.errors.NotFound;
}

/** The role that vehicles look for an image in. */
async function roleOf(image: Image, author: RepositoryAuthor): Promise<string> {
  return await author.roleFor({ name: targetOf(image).filename, hardwareIds: [image.hwVersion] });
}

function targetOf(image: Image): { filename: string; target: Target } {
  const { ecuType, hwVersion, version, segments, download, payloadSha256, payloadSize, release } = image;
  return {
    filename: imageTargetName({ ecuType, hwVersion, version }),
    target: imageTarget({
      ecuType,
      hwVersion,
      version,
      segments,
      download: download && toDownload(download),
      sha256: payloadSha256,
      size: payloadSize,
      releaseCounter: release ?? 0,
    }),
  };
}

/** Whether two images say the same; what is known of neither here counts too. */
function sameTarget(a: Target, b: Target): boolean {
  return isDeepStrictEqual(targetSchema.parse(a), targetSchema.parse(b));
}

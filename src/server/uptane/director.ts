// The Director: tells each vehicle what to install, in metadata for that vehicle alone. What is given out stands in the database,
// so that several servers give out the same, and no version twice with another content.

import { makeDirectorBundle } from "../../uptane/author.ts";
import type { Target } from "../../uptane/models.ts";
import type { Image, Repositories, Store } from "../store/mod.ts";
import { type GivenOut, givenOut } from "./given_out.ts";
import type { ImageRepository } from "./image_repository.ts";
import type { Validity } from "./roles.ts";
import type { RepositoryDirectory } from "./repository_directory.ts";
import type { RoleSigners } from "./role_signers.ts";

export interface DirectorOptions {
  store: Store;
  directory: RepositoryDirectory;
  signers: RoleSigners;
  images: ImageRepository;
  validity: Validity;
  /** @default the system's clock */
  now?: () => Date;
}

/** An image that a vehicle is to get is not in the Image repository. */
export class NotPublished extends Error {
  override readonly name = "NotPublished";
}

const day = 86_400_000;

export class Director {
  readonly #options: DirectorOptions;
  readonly #now: () => Date;

  constructor(options: DirectorOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => new Date());
  }

  /**
   * A file of one vehicle's; undefined if there is none. The timestamp shows what is to be installed now: whatever the update that
   * is under way wants, nothing when there is none. It is made anew where the last one does not say so, or gets old, or is signed by
   * keys that were rotated.
   *
   * @param fileName as the contract has checked it
   * @throws {NotPublished} {@link RoleKeysMissing}
   */
  async file(vin: string, fileName: string): Promise<GivenOut | undefined> {
    const { store, directory } = this.#options;
    if (fileName.endsWith(".root.json")) return givenOut(await directory.read("director", fileName));
    if (fileName === "timestamp.json" && !await this.#isCurrent(vin)) {
      await store.transaction(async (tx) => {
        // Whoever else was about to make it, here or on another server, has done so by then.
        await tx.director.lock(vin);
        if (!await this.#isCurrent(vin, tx)) await this.direct(tx, vin);
      });
    }
    return givenOut(await store.director.file(vin, fileName) ?? undefined);
  }

  async #isCurrent(vin: string, repositories: Repositories = this.#options.store): Promise<boolean> {
    const { rootSha256 } = await this.#options.signers.director();
    const { state, activeUpdate } = await repositories.director.current(vin);
    return state !== null && state.version > 0 && state.updateId === activeUpdate &&
      state.rootSha256 === rootSha256 && this.#now() < state.renewAfter;
  }

  /**
   * Makes the vehicle's next bundle, which directs what its update under way wants, as part of a transaction: the bundle is given
   * out when all of it is committed. Others who make one for the same vehicle wait until then.
   *
   * @throws {NotPublished} {@link RoleKeysMissing}
   */
  async direct(tx: Repositories, vin: string): Promise<void> {
    const { validity, signers: keys } = this.#options;
    const before = await tx.director.lock(vin);
    const { rootSha256, signers } = await keys.director();
    const update = await tx.updates.active(vin);
    const images = update === null ? [] : await this.#wanted(tx, update.updateId);
    const version = before.version + 1;
    const now = this.#now().getTime();
    const after = (days: number) => new Date(now + days * day);
    const files = await makeDirectorBundle({
      vehicleId: vin,
      version,
      images,
      expires: {
        targets: after(validity.targets),
        snapshot: after(validity.snapshot),
        timestamp: after(validity.timestamp),
      },
      signers: {
        targets: signers("targets"),
        snapshot: signers("snapshot"),
        timestamp: signers("timestamp"),
      },
    });
    await tx.director.put({
      vin,
      version,
      updateId: update?.updateId ?? null,
      rootSha256,
      renewAfter: after(Math.min(validity.timestamp, validity.snapshot, validity.targets) / 2),
      files,
    });
  }

  /** Images of an update as the Image repository has them. */
  async #wanted(tx: Repositories, updateId: string) {
    const byName = new Map<string, { target: Target; ecus: { ecuId: string; hardwareId: string }[] }>();
    const found = new Map<string, Image>();
    for (const { ecuId, imageId } of await tx.director.directions(updateId)) {
      const image = found.get(imageId) ?? await tx.images.find(imageId);
      if (image === null) throw new NotPublished(`image ${imageId} for ${ecuId} is not in the catalogue`);
      found.set(imageId, image);
      const published = await this.#options.images.published(image);
      if (published === undefined) {
        const { ecuType, hwVersion, version } = image;
        throw new NotPublished(
          `version ${version} for ${ecuType} (${hwVersion}) is not in the Image repository: sign what waits below ` +
            `${this.#options.directory.path}/staged, then run "zonebench repo publish"`,
        );
      }
      const { filename, target } = published;
      const entry = byName.get(filename) ?? { target, ecus: [] };
      entry.ecus.push({ ecuId, hardwareId: image.hwVersion });
      byName.set(filename, entry);
    }
    return [...byName].map(([filename, { target, ecus }]) => ({ filename, target, ecus }));
  }
}

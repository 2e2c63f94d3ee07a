// Small repositories for tests of vehicles: founded in milliseconds, with one image for each ECU that a test directs one to, and
// given out by the routes of the contract. A test may put any file in the place of any other, or answer in their stead.

import type { PackageManifest } from "../../src/contract/package.ts";
import { type CatalogueImage, imageTarget, imageTargetName } from "../../src/uptane/image_target.ts";
import type { RepositoryName, Target } from "../../src/uptane/models.ts";
import { attest } from "../../src/uptane/time.ts";
import { FakeRepository } from "../uptane/fake_repositories.ts";

/** An image and who gets it. */
export interface DirectedImage {
  ecuId: string;
  /** Hardware that the Director means. @default that of the image */
  hardwareId?: string;
  image: CatalogueImage;
}

/** An answer over HTTP. */
export interface RepositoryAnswer {
  status: number;
  bytes: Uint8Array;
}

const notFound: RepositoryAnswer = {
  status: 404,
  bytes: new TextEncoder().encode('{"type":"about:blank","title":"Not Found","status":404}'),
};

/** The two repositories of one vehicle. */
export class TestRepositories {
  /** The server's clock. */
  time: () => Date = () => new Date();
  /** Answers in place of the repositories, by file name, e.g. `director/timestamp.json` or `time`. */
  readonly instead = new Map<string, () => RepositoryAnswer>();
  /** Files that were asked for, in order, named as in {@link instead}. */
  readonly asked: string[] = [];

  /** The first roots, as a vehicle is given them. */
  readonly roots: Record<RepositoryName, Uint8Array>;

  private constructor(
    readonly vin: string,
    readonly director: FakeRepository,
    readonly image: FakeRepository,
  ) {
    this.roots = { director: director.file("1.root.json"), image: image.file("1.root.json") };
  }

  /** Founds both; nothing is directed. */
  static async found(vin: string, begins = new Date()): Promise<TestRepositories> {
    const repositories = new TestRepositories(
      vin,
      await FakeRepository.make(["time"], "ecdsa-p256", begins),
      await FakeRepository.make([], "ecdsa-p256", begins),
    );
    await repositories.direct([]);
    return repositories;
  }

  /** Publishes these images and directs them to their ECUs, in place of what was directed before. */
  async direct(images: readonly DirectedImage[]): Promise<void> {
    const published: Record<string, Target> = {};
    const directed: Record<string, Target> = {};
    for (const { ecuId, image, hardwareId = image.hwVersion } of images) {
      const name = imageTargetName(image);
      const target = published[name] ??= imageTarget(image);
      const { ecus, ...custom } = directed[name]?.custom ?? target.custom ?? {};
      directed[name] = {
        ...target,
        custom: { ...custom, ecus: { ...ecus, [ecuId]: { hardware_id: hardwareId } } },
      };
    }
    await this.publish(published);
    await this.order(directed);
  }

  /** Publishes targets of the Image repository. */
  async publish(targets: Record<string, Target>): Promise<void> {
    await this.image.writeTargets(targets);
    await this.image.release();
  }

  /** Gives out targets of the Director. */
  async order(targets: Record<string, Target>, vehicleId = this.vin): Promise<void> {
    await this.director.writeTargets(targets, { vehicleId });
    await this.director.release();
  }

  /** Answers a call of the contract's routes; undefined for another path. */
  async answer(method: string, path: string, body: unknown): Promise<RepositoryAnswer | undefined> {
    const [, directory, file] = /^\/api\/v1\/uptane\/(?:(director)\/[^/]+|image)\/([^/]+)$/.exec(path) ?? [];
    const name = `${method} ${path}` === "POST /api/v1/uptane/time"
      ? "time"
      : method === "GET" && file !== undefined
      ? `${directory ?? "image"}/${file}`
      : undefined;
    if (name === undefined) return undefined;
    this.asked.push(name);
    const instead = this.instead.get(name);
    if (instead !== undefined) return instead();
    if (name === "time") {
      const { nonces } = body as { nonces: string[] };
      return { status: 200, bytes: await this.attest(nonces) };
    }
    const bytes = this[directory === "director" ? "director" : "image"].files.get(file);
    return bytes === undefined ? notFound : { status: 200, bytes };
  }

  /** The time, signed. */
  async attest(nonces: readonly string[], time = this.time()): Promise<Uint8Array> {
    return await attest(time, nonces, this.director.holders.time?.signers ?? []);
  }
}

/** What a package holds, as it is to be directed. */
export function imagesOf({ zonal_gateways }: PackageManifest): DirectedImage[] {
  return zonal_gateways.flatMap(({ ecus }) =>
    ecus.map(({ ecu_id, ecu_type, hw_version, version, release, image }) => ({
      ecuId: ecu_id,
      image: {
        ecuType: ecu_type,
        hwVersion: hw_version,
        version,
        sha256: image.sha256,
        size: image.size,
        segments: image.segments,
        download: image.download ?? null,
        releaseCounter: release ?? 0,
      },
    }))
  );
}

// Packages: what one vehicle downloads, built once for the same content.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { NotFoundError } from "./errors.ts";
import { isUuid, requireCount } from "./page.ts";

export type PackageStatus = "building" | "ready" | "failed";

export interface PackageInput {
  /** Chosen by the caller, because it stands in the signed manifest; a new one otherwise. */
  packageId?: string;
  vin: string;
  /** The same for the same content (ECUs, images, layout) of the same vehicle. */
  contentKey: string;
  /** The images in it: they stay in the catalogue as long as the package does. */
  imageIds: readonly string[];
}

/** What a finished package is. */
export interface BuiltPackage {
  /** Of the whole file. */
  sha256: string;
  size: number;
  etag: string;
  /** The signed manifest, as JSON. */
  manifest: unknown;
}

export interface Package {
  packageId: string;
  vin: string;
  contentKey: string;
  status: PackageStatus;
  sha256: string | null;
  size: number | null;
  etag: string | null;
  manifest: unknown;
  error: string | null;
  created: Date;
  /** When it was last asked for. */
  touched: Date;
}

const COLUMNS = `package_id, vin, content_key, status, sha256, size, etag, manifest, error, created, touched`;

export class Packages {
  constructor(private readonly context: Context) {}

  /**
   * The package of this content, entered as "building" when there is none. Who gets `created` builds it and calls `finish`
   * or `fail`; everybody else waits for that (`find` by its id) or uses what is ready.
   * @throws NotFoundError when the vehicle or an image is unknown
   */
  async claim(input: PackageInput): Promise<{ package: Package; created: boolean }> {
    const { sql } = this.context;
    const packageId = input.packageId ?? this.context.newId();
    const now = this.context.now();
    for (let round = 0; round < 3; round++) {
      const [made] = await sql.query<Package & { images: number }>(
        `with vehicle as (
           select vin from vehicles where vin = $2
             and not exists (select from jsonb_array_elements_text($5::jsonb) as wanted(id)
               where not exists (select from images where image_id = wanted.id::uuid))
         ), made as (
           insert into packages (package_id, vin, content_key, status, created, touched, builder_seen)
           select $1, vin, $3, 'building', $4, $4, now() from vehicle
           on conflict (vin, content_key) where status <> 'failed' do nothing returning *
         ), linked as (
           insert into package_images (package_id, image_id)
           select distinct made.package_id, wanted.id::uuid from made, jsonb_array_elements_text($5::jsonb) as wanted(id)
         )
         select ${COLUMNS} from made`,
        [packageId, input.vin, input.contentKey, now, json(input.imageIds)],
      );
      if (made) return { package: made, created: true };
      const [known] = await sql.query<Package>(
        `update packages set touched = $3 where vin = $1 and content_key = $2 and status <> 'failed' returning ${COLUMNS}`,
        [input.vin, input.contentKey, now],
      );
      if (known) return { package: known, created: false };
    }
    throw new NotFoundError("vehicle with these images for a package", input.vin);
  }

  async find(packageId: string): Promise<Package | null> {
    if (!isUuid(packageId)) return null;
    const [found] = await this.context.sql.query<Package>(
      `select ${COLUMNS} from packages where package_id = $1`,
      [packageId],
    );
    return found ?? null;
  }

  /** The package is built. @throws NotFoundError when it is not building (any more) */
  async finish(packageId: string, built: BuiltPackage): Promise<Package> {
    const [done] = await this.context.sql.query<Package>(
      `update packages set status = 'ready', sha256 = $2, size = $3, etag = $4, manifest = $5, touched = $6
       where package_id = $1 and status = 'building' returning ${COLUMNS}`,
      [packageId, built.sha256, built.size, built.etag, json(built.manifest), this.context.now()],
    );
    if (done === undefined) throw new NotFoundError("package being built", packageId);
    return done;
  }

  /** The build failed: the content may be claimed again. False when it was not building (any more). */
  async fail(packageId: string, error: string): Promise<boolean> {
    const rows = await this.context.sql.query(
      "update packages set status = 'failed', error = $2 where package_id = $1 and status = 'building' returning seq",
      [packageId, error],
    );
    return rows.length > 0;
  }

  /** Gives up a built package whose file is gone: the content may be claimed again. False when it is not ready (any more). */
  async discard(packageId: string, error: string): Promise<boolean> {
    const rows = await this.context.sql.query(
      "update packages set status = 'failed', error = $2 where package_id = $1 and status = 'ready' returning seq",
      [packageId, error],
    );
    return rows.length > 0;
  }

  /** Its builder is at work: said again and again, so that others see when it no longer is. */
  async building(packageId: string): Promise<void> {
    await this.context.sql.query(
      "update packages set builder_seen = now() where package_id = $1 and status = 'building'",
      [packageId],
    );
  }

  /**
   * Fails a build whose builder has said nothing for `silence` ms by the database's clock: the content may be claimed again.
   * False when it is at work, or the build has ended.
   */
  async failSilentBuild(packageId: string, silence: number): Promise<boolean> {
    const rows = await this.context.sql.query(
      `update packages set status = 'failed', error = 'the server that built it stopped'
       where package_id = $1 and status = 'building'
         and builder_seen < now() - $2 * interval '1 millisecond' returning seq`,
      [packageId, requireCount("silence", silence, 1)],
    );
    return rows.length > 0;
  }

  /** Fails builds that began more than `olderThan` ms ago: their builder is gone. Gives their ids. */
  async failAbandoned(olderThan: number): Promise<string[]> {
    const cutoff = new Date(this.context.now().getTime() - requireCount("olderThan", olderThan));
    const rows = await this.context.sql.query<{ packageId: string }>(
      `update packages set status = 'failed', error = 'the server that built it stopped'
       where status = 'building' and created < $1 returning package_id`,
      [cutoff],
    );
    return rows.map((row) => row.packageId);
  }

  /** It was asked for: it is kept for another retention time. */
  async touch(packageId: string): Promise<void> {
    await this.context.sql.query("update packages set touched = $2 where package_id = $1", [
      packageId,
      this.context.now(),
    ]);
  }
}

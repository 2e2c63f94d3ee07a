// The key by which the gateway signs for its vehicle: version manifests, and reports for ECUs that sign none. It is not the key of
// its TLS certificate. It is made at the first start and stays on the gateway; the server is given the public half.

import { join } from "node:path";
import { privateMode, publicMode, readIfPresent, writeWhole } from "../../pqc/files.ts";
import {
  generateSigner,
  importSigner,
  KeyError,
  type LocalSigner,
  type SignatureAlgorithm,
} from "../../uptane/keys.ts";
import { StateError } from "../errors.ts";

/**
 * The gateway's key, made when there is none.
 *
 * @param directory Folder of the vehicle's state: `report.key` and `report.pub` are in it.
 * @param algorithm Of a key that is made; one that is there stays as it is.
 * @throws {StateError} when the file holds no such key
 */
export async function primaryKey(
  directory: string,
  algorithm: SignatureAlgorithm = "ml-dsa-65",
): Promise<LocalSigner> {
  const path = join(directory, "report.key");
  const kept = await readIfPresent(path);
  let signer: LocalSigner;
  if (kept === undefined) {
    signer = await generateSigner(algorithm);
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    await writeWhole(path, await signer.exportPem(), privateMode);
  } else {
    try {
      signer = await importSigner(kept);
    } catch (cause) {
      if (!(cause instanceof KeyError)) throw cause;
      throw new StateError(`${path}: ${cause.message}`, { cause });
    }
  }
  const publicFile = join(directory, "report.pub");
  const { public: pem } = signer.key.keyval;
  if (await readIfPresent(publicFile) !== pem) await writeWhole(publicFile, pem, publicMode);
  return signer;
}

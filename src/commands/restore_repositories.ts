// Puts restored repositories of signed metadata where they belong when that is not in the data folder. Unlike images, which are
// named by their hash, their files replace each other: what is there is put aside whole.

import { dirname, join } from "node:path";
import { copyFolder, exists } from "./files.ts";
import type { RestorePlace } from "./restore_place.ts";

/**
 * Moves repositories into place.
 *
 * @param from what was restored; it is copied, and stays
 * @param folder where they belong; what is there goes to a folder beside it, but private keys that did not come stay in use
 * @param place the restore that this is part of: it takes the moves back when it fails
 * @returns {Promise} where what was there is now; undefined when there was nothing
 */
export async function placeRepositories(
  from: string,
  folder: string,
  place: Pick<RestorePlace, "move" | "drafted">,
): Promise<string | undefined> {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const draft = `${folder}.${crypto.randomUUID()}.tmp`;
  place.drafted(draft);
  await Deno.mkdir(dirname(folder), { recursive: true });
  await copyFolder(from, draft);
  const aside = `${folder}.replaced-${stamp}`;
  const replaced = await exists(folder);
  if (replaced && !await exists(join(draft, "keys")) && await exists(join(folder, "keys"))) {
    await copyFolder(join(folder, "keys"), join(draft, "keys"));
  }
  if (replaced) await place.move(folder, aside);
  await place.move(draft, folder);
  return replaced ? aside : undefined;
}

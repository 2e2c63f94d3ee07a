// A folder of repositories for a test: every role with one ECDSA key, which is fast.

import { join } from "node:path";
import type { RoleSetting, RootRole } from "../../../src/server/uptane/roles.ts";
import { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";

const one: RoleSetting = { algorithms: ["ecdsa-p256"], threshold: 1 };

export const settings: Readonly<Record<RootRole, RoleSetting>> = {
  root: one,
  timestamp: one,
  snapshot: one,
  targets: one,
  time: one,
};

/** Runs with a folder that is locked, and gone afterwards. */
export async function withRepositories(
  run: (directory: RepositoryDirectory) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    const directory = new RepositoryDirectory(join(path, "repo"));
    await directory.locked(() => run(directory));
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

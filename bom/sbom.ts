// `deno task sbom`: writes dist/zonebench.cdx.json, the bill of materials.

import { dirname, join } from "node:path";
import { commitOf } from "../src/commands/git_commit.ts";
import { billOfMaterials } from "./cyclonedx.ts";
import { catalogue, project, projectName, projectVersion, readCrates, readNpm } from "./project.ts";

/** Writes the bill of materials. @param file where to; the folder is made */
export async function writeBillOfMaterials(file: string): Promise<void> {
  const { all, direct } = await readNpm();
  const files = await Promise.all(["tls.wasm", "zstd.wasm"].map(async (name) => {
    const bytes = await Deno.readFile(join(project, "wasm", name));
    return { name, sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex() };
  }));
  const epoch = Deno.env.get("SOURCE_DATE_EPOCH");
  const bom = billOfMaterials({
    name: projectName,
    version: projectVersion,
    commit: await commitOf(project),
    catalogue,
    npm: all,
    direct,
    crates: await readCrates(),
    files,
    // https://reproducible-builds.org/docs/source-date-epoch/
    time: epoch === undefined ? new Date() : new Date(Number(epoch) * 1000),
  });
  await Deno.mkdir(dirname(file), { recursive: true });
  await Deno.writeTextFile(`${file}.new`, `${JSON.stringify(bom, null, 2)}\n`);
  await Deno.rename(`${file}.new`, file);
}

if (import.meta.main) {
  const file = Deno.args[0] ?? join(project, "dist", "zonebench.cdx.json");
  await writeBillOfMaterials(file);
  console.log(file);
}

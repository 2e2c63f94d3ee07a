// Packages that an earlier program built: said to be so, with what to do, and never served.
//
// fixtures/database_schema_5.jsonl has one of the container's version 1.

import assert from "node:assert/strict";
import { join } from "node:path";
import { ProblemError } from "../../../src/contract/client.ts";
import { routes } from "../../../src/contract/routes.ts";
import { loadDatabase } from "../../../src/server/store/load.ts";
import { linesOf } from "../../../src/server/store/dump_lines.ts";
import { migrations } from "../../../src/server/store/migrations/mod.ts";
import { openPglite } from "../../../src/server/store/pglite.ts";
import { prepareEmbedded } from "../../support/embedded.ts";
import { temporaryFolder } from "../../support/program.ts";
import { startTestServer } from "../running_server.ts";

const olderPackage = "86fa9d13-e8a3-4e13-ba03-9f4ce5e20c2e";

Deno.test("a package of the container's version 1 is refused with what to do, manifest and bytes", async () => {
  await using folder = await temporaryFolder();
  const directory = join(folder.path, "db");
  await prepareEmbedded(directory);
  const database = await openPglite({ directory });
  const fixture = await Deno.open(new URL("../../fixtures/database_schema_5.jsonl", import.meta.url));
  await loadDatabase(database, linesOf(fixture.readable), { migrations });
  await database.close();

  await using server = await startTestServer("127.0.201.21", { dataDirectory: folder.path });
  const path = { id: olderPackage };
  const refused = (error: unknown) =>
    error instanceof ProblemError && error.status === 409 && error.code === "package_version" &&
    /has version 1, .* serves version 2: cancel its update .* start it anew/.test(error.message);
  await assert.rejects(server.operator.rest.call(routes.getManifest, { path }), refused);
  await assert.rejects(server.operator.rest.open(routes.downloadPackage, { path }), refused);
});

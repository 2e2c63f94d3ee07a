// Two servers on one PostgreSQL and one folder: one repository, one version for each content.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../../src/contract/routes.ts";
import { RepositoryDirectory } from "../../../src/server/uptane/repository_directory.ts";
import { RepositoryAuthor } from "../../../src/server/uptane/repository_author.ts";
import { sampleBytes } from "../../support/firmware_files.ts";
import { interopTest } from "../../support/peers.ts";
import { postgresql, startPostgres } from "../../support/postgres.ts";
import { registerVehicle, uploadFirmware } from "../fleet.ts";
import { ecu, raw, startTestServer, type TestServer, vinA } from "../running_server.ts";

const path = `/api/v1/uptane/director/${vinA}`;

const upload = (server: TestServer, version: string, seed: number) =>
  uploadFirmware(server, version, sampleBytes(3000, seed));

interopTest(
  "two servers publish into one Image repository and direct by one Director",
  [postgresql],
  async (t) => {
    const postgres = await startPostgres();
    const files = await Deno.makeTempDir();
    try {
      const shared = { database: { url: postgres.url }, filesDirectory: files };
      await using first = await startTestServer("127.0.87.11", shared);
      await using second = await startTestServer("127.0.87.12", { ...shared, pki: first.pki });
      const servers = [first, second];
      const folder = new RepositoryDirectory(join(files, "repo"));
      await registerVehicle(first.vehicleA, vinA, "VMG-A", [ecu("ECU_001", "1.0.0")]);

      await t.step("the second found what the first had founded", async () => {
        assert.equal((await folder.newest("image", "root"))?.version, 1);
        assert.equal(
          second.lines.filter((line) => /Repositories of signed metadata made/.test(line)).length,
          0,
        );
      });

      await t.step("images that are uploaded to both at once are all published", async () => {
        const versions = ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];
        const added = await Promise.all(versions.map((version, at) => upload(servers[at % 2], version, at)));
        assert.deepEqual(added.map(({ target }) => target), versions.map(() => "published"));
        const targets = (await folder.newest("image", "targets"))?.metadata.signed.targets ?? {};
        assert.deepEqual(
          Object.keys(targets).sort(),
          versions.map((version) => `BODY_CONTROLLER/HW1/${version}.bin`),
        );
      });

      await t.step(
        "both give out the same bytes, however many ask at once for what is not made yet",
        async () => {
          const get = (server: TestServer) => raw(server, server.vehicleA, "GET", `${path}/timestamp.json`);
          for (let version = 1; version <= 3; version++) {
            const answers = await Promise.all([0, 1, 0, 1, 0, 1].map((at) => get(servers[at])));
            assert.deepEqual([...new Set(answers.map(({ status, text }) => `${status} ${text}`))].length, 1);
            assert.equal(JSON.parse(answers[0].text).signed.version, version);
            // Keys of one server are keys of the other; what they signed before is made anew by whoever is asked.
            await folder.locked(async () =>
              void await new RepositoryAuthor(folder, new Date()).rotate("director", "timestamp")
            );
          }
        },
      );

      await t.step("an update that one starts is directed by the other", async () => {
        await first.operator.rest.call(routes.startUpdate, { body: { vin: vinA } });
        const timestamp = await raw(second, second.vehicleA, "GET", `${path}/timestamp.json`);
        const { version } = JSON.parse(timestamp.text).signed;
        const { text } = await raw(second, second.vehicleA, "GET", `${path}/${version}.targets.json`);
        assert.deepEqual(Object.keys(JSON.parse(text).signed.targets), ["BODY_CONTROLLER/HW1/1.6.0.bin"]);
      });
    } finally {
      await postgres.stop();
      await Deno.remove(files, { recursive: true });
    }
  },
);

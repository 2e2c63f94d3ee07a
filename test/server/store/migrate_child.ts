// A program of its own for upgrade_test.ts: brings the embedded database in the directory that it is given forward by a migration
// that takes a while, and says when it begins.
import { openPglite } from "../../../src/server/store/pglite.ts";
import { migrate, type Migration } from "../../../src/server/store/migrate.ts";

const first: Migration = {
  version: 1,
  name: "first",
  statements: ["create table numbers (n bigint)", "insert into numbers select generate_series(1, 100000)"],
};
const second: Migration = {
  version: 2,
  name: "second",
  statements: [
    "alter table numbers add column twice bigint",
    ...Array.from({ length: 10 }, () => "update numbers set twice = n * 2"),
  ],
};

const database = await openPglite({ directory: Deno.args[0] });
await migrate(database, [first]).catch((error) => {
  // An earlier run came to its end.
  if (!String(error).includes("schema version 2")) throw error;
});
console.log("migrating");
await migrate(database, [first, second]);
await database.close();

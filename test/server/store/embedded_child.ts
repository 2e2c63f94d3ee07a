// A program of its own for pglite_test.ts: opens the embedded database in the directory that it is given, stores rows in
// transactions and one by one, and prints each number only once the database has acknowledged it. It runs until it is killed.
import { openPglite } from "../../../src/server/store/pglite.ts";

const database = await openPglite({ directory: Deno.args[0] });
await database.query("create table if not exists acknowledged (n bigint primary key, filler text not null)");
const [{ last }] = await database.query<{ last: number }>(
  "select coalesce(max(n), 0) as last from acknowledged",
);
console.log("ready");
const filler = "x".repeat(500);
for (let n = last + 1;; n++) {
  if (n % 3 === 0) {
    await database.transaction(async (tx) => {
      await tx.query("insert into acknowledged values ($1, $2)", [n, filler]);
    });
  } else {
    await database.query("insert into acknowledged values ($1, $2)", [n, filler]);
  }
  console.log(n);
}

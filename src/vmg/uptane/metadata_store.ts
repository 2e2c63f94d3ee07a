// Trusted metadata in the gateway's database: a repository's files are replaced in one transaction, so that a loss of power leaves
// all of the old ones or all of the new.

import { z } from "zod";
import type { RepositoryName } from "../../uptane/models.ts";
import type { MetadataStore } from "../../uptane/store.ts";
import type { StateDatabase } from "../state/database.ts";

const fileRow = z.object({ name: z.string(), bytes: z.instanceof(Uint8Array) });

/** The store of one vehicle. */
export class SqliteMetadataStore implements MetadataStore {
  readonly #state: StateDatabase;
  readonly #statements;

  constructor(state: StateDatabase) {
    this.#state = state;
    const { sqlite } = state;
    this.#statements = {
      load: sqlite.prepare("SELECT name, bytes FROM uptane_files WHERE repository = ?"),
      clear: sqlite.prepare("DELETE FROM uptane_files WHERE repository = ?"),
      insert: sqlite.prepare("INSERT INTO uptane_files (repository, name, bytes) VALUES (?, ?, ?)"),
    };
  }

  // What SQLite throws is the promise's: callers wait for it.
  // deno-lint-ignore require-await
  async load(repository: RepositoryName): Promise<ReadonlyMap<string, Uint8Array>> {
    return new Map(
      this.#statements.load.all(repository).map((found) => {
        const { name, bytes } = fileRow.parse(found);
        return [name, bytes];
      }),
    );
  }

  // deno-lint-ignore require-await
  async replace(repository: RepositoryName, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    this.#state.transaction(() => {
      this.#statements.clear.run(repository);
      for (const [name, bytes] of files) this.#statements.insert.run(repository, name, bytes);
    });
  }
}

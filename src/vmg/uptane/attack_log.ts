// Checks of signed metadata that failed: said in the log at once, and told to the server in the gateway's next version report.

import { z } from "zod";
import type { Logger } from "../../log.ts";
import { citation } from "../../uptane/checks.ts";
import type { UptaneError } from "../../uptane/errors.ts";
import type { StateDatabase } from "../state/database.ts";

/** Most codes that one report tells of. */
const mostCodes = 32;

const attackRow = z.object({ code: z.string(), seen: z.int() });

/** A failed check that the server has not heard of. */
export type Attack = z.infer<typeof attackRow>;

/** The failed checks of one vehicle. */
export class AttackLog {
  readonly #statements;
  readonly #log: Logger;

  constructor({ sqlite }: StateDatabase, log: Logger) {
    this.#log = log;
    this.#statements = {
      add: sqlite.prepare(
        "INSERT INTO uptane_attacks (code, seen) VALUES (?, 1) ON CONFLICT (code) DO UPDATE SET seen = seen + 1",
      ),
      all: sqlite.prepare("SELECT code, seen FROM uptane_attacks ORDER BY rowid LIMIT ?"),
      remove: sqlite.prepare("DELETE FROM uptane_attacks WHERE code = ? AND seen = ?"),
    };
  }

  /** Notes a failed check. */
  note({ attack, code, clause, message }: UptaneError): void {
    this.#log.warn(`Refused as ${attack} (${citation(clause)}): ${code}: ${message}`);
    this.#statements.add.run(code);
  }

  /** What is to be told, oldest first. */
  get untold(): Attack[] {
    return this.#statements.all.all(mostCodes).map((found) => attackRow.parse(found));
  }

  /** The server has heard of these. What failed again meanwhile is told again. */
  told(attacks: readonly Attack[]): void {
    for (const { code, seen } of attacks) this.#statements.remove.run(code, seen);
  }
}

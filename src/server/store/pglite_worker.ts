/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
// The worker in which the embedded database runs: PostgreSQL in WebAssembly computes and writes files synchronously, which
// on the main thread would hold every socket of the server for the length of each query.
import { PGlite } from "@electric-sql/pglite";
import type { ErrorReply, WorkerReply, WorkerRequest } from "./pglite_protocol.ts";
import { decoders } from "./wire.ts";

let database: PGlite | null = null;
/** Requests are answered in the order in which they came. */
let last: Promise<void> = Promise.resolve();

function post(reply: WorkerReply): void {
  self.postMessage(reply);
}

const keepText = (text: string) => text;

/**
 * Puts wire.ts in the place of PGlite's own conversions. They are replaced and not removed: for a type that has none the
 * library falls back to its defaults.
 */
function useWire(opened: PGlite): void {
  for (const type of Object.keys(opened.parsers)) opened.parsers[Number(type)] = keepText;
  Object.assign(opened.parsers, decoders);
  for (const type of Object.keys(opened.serializers)) opened.serializers[Number(type)] = keepText;
}

async function answer(request: WorkerRequest): Promise<WorkerReply> {
  switch (request.kind) {
    case "open":
      database = await PGlite.create({ dataDir: request.path });
      useWire(database);
      await database.exec("set time zone 'UTC'; set datestyle to 'ISO, YMD'");
      return { kind: "opened" };
    case "close":
      await database?.close();
      return { kind: "closed" };
    case "query": {
      if (database === null) throw new Error("query before open");
      const result = await database.query<unknown[]>(request.text, request.params, { rowMode: "array" });
      return {
        kind: "rows",
        id: request.id,
        columns: result.fields.map((field) => field.name),
        values: result.rows,
      };
    }
  }
}

function failure(id: number | null, error: unknown): ErrorReply {
  const text = (name: string): string | null => {
    if (typeof error !== "object" || error === null) return null;
    const value: unknown = Reflect.get(error, name);
    return typeof value === "string" ? value : null;
  };
  const message = error instanceof Error ? error.message : String(error);
  // PostgreSQL ends a process, or all of them, on these; here there is one, and it is of no use any more.
  const fatal = ["FATAL", "PANIC"].includes(text("severity") ?? "");
  return { kind: "error", id, message, sqlState: text("code"), constraint: text("constraint"), fatal };
}

self.addEventListener("message", (event: MessageEvent<WorkerRequest>) => {
  const request = event.data;
  last = last.then(async () => {
    try {
      post(await answer(request));
    } catch (error) {
      post(failure(request.kind === "query" ? request.id : null, error));
    }
  });
});

// The route that writes the whole database down, for backups.

import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { describeError } from "../../log.ts";
import type { Store } from "../store/mod.ts";
import type { Mount } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface DatabaseRouteOptions {
  store: Pick<Store, "dump">;
  log: Logger;
}

/** @returns how a dump that is under way is ended before the store closes */
export function mountDatabase(mount: Mount, options: DatabaseRouteOptions): { stop(): Promise<void> } {
  const { store, log } = options;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;

  mount(routes.dumpDatabase, async ({ method, signal, caller }) => {
    const headers = { "content-type": "application/jsonl", "cache-control": "no-store" };
    if (method === "HEAD") return new Response(null, { headers });
    // A copy of the embedded database and a second engine are enough at a time.
    if (running !== undefined) {
      throw new HttpProblem(409, "the database is being dumped already", {
        code: "dump_running",
        headers: { "retry-after": "10" },
      });
    }
    const gone = AbortSignal.any([signal, stopping.signal]);
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const encoder = new TextEncoder();
    // Until there is something to read the answer has not begun, and what fails is told as with any other route.
    const begun = Promise.withResolvers<void>();
    const write = (lines: string) => {
      begun.resolve();
      return writer.write(encoder.encode(lines));
    };
    // Whoever goes away leaves the writer waiting for ever.
    const leave = () => void writer.abort(gone.reason).catch(() => {});
    gone.addEventListener("abort", leave, { once: true });
    running = store.dump({ write, signal: gone }).then(
      () => writer.close(),
      async (error: unknown) => {
        log.warn(`The dump of the database for ${caller.name} was broken off: ${describeError(error)}`);
        begun.reject(error);
        // Where the answer has begun: that it breaks off, and lacks its last line, is what tells its reader.
        await writer.abort(error);
      },
    ).catch((error: unknown) => log.debug(`The dump's reader went away: ${describeError(error)}`))
      .finally(() => {
        running = undefined;
        gone.removeEventListener("abort", leave);
      });
    await begun.promise;
    return new Response(readable, { headers });
  });

  return {
    async stop() {
      stopping.abort(new DOMException("the server is stopping", "AbortError"));
      await running;
    },
  };
}

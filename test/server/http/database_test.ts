// The dump of the database as a route: what fails before the first line, and after it.

import assert from "node:assert/strict";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { Hono } from "hono";
import { routes } from "../../../src/contract/routes.ts";
import { silentLogger } from "../../../src/log.ts";
import { mountDatabase } from "../../../src/server/http/database.ts";
import { type Bindings, mounter } from "../../../src/server/http/mount.ts";
import { createMetrics } from "../../../src/server/metrics.ts";
import { ServerState } from "../../../src/server/state.ts";
import { QueryError } from "../../../src/server/store/errors.ts";
import type { DumpOptions } from "../../../src/server/store/mod.ts";

/** The answer of a server whose database is written down so. */
async function answerOf(dump: (options: DumpOptions) => Promise<void>): Promise<Response> {
  const app = new Hono<{ Bindings: Bindings }>();
  const mount = mounter(app, {
    log: silentLogger,
    metrics: createMetrics(),
    state: new ServerState(silentLogger),
    callerOf: () => ({ kind: "operator", name: "operator-bench" }),
    findVehicle: () => Promise.resolve(null),
    maxBody: 1000,
    bodyTimeout: 1000,
  });
  mountDatabase(mount, { store: { dump }, log: silentLogger });
  const incoming = new IncomingMessage(new Socket());
  const { path, method } = routes.dumpDatabase;
  return await app.request(path, { method }, { incoming, outgoing: new ServerResponse(incoming) });
}

Deno.test("a disk that is full before the first line is told with 507, and not by an answer that breaks off", async () => {
  const response = await answerOf(() => Promise.reject(new QueryError("no space (SQLSTATE 53100)", "53100")));
  assert.equal(response.status, 507);
  assert.equal((await response.json()).code, "disk_full");
});

Deno.test("what fails after the first line breaks the answer off", async () => {
  const response = await answerOf(async ({ write }) => {
    await write("{}\n");
    throw new QueryError("no space (SQLSTATE 53100)", "53100");
  });
  assert.equal(response.status, 200);
  await assert.rejects(response.text());
});

Deno.test("the lines of a dump are the answer", async () => {
  const response = await answerOf(async ({ write }) => {
    await write("1\n");
    await write("2\n");
  });
  assert.equal(await response.text(), "1\n2\n");
});

// Which failure calls the next attempt of an update off, and which has it begun later.

import assert from "node:assert/strict";
import { CodecBusyError } from "../../../src/codec/errors.ts";
import { createLogger } from "../../../src/log.ts";
import { Events } from "../../../src/server/events.ts";
import { createMetrics } from "../../../src/server/metrics.ts";
import { CampaignService } from "../../../src/server/ota/campaigns.ts";
import { UpdateReports } from "../../../src/server/ota/update_reports.ts";
import { Outbox } from "../../../src/server/outbox.ts";
import type { Store, Update } from "../../../src/server/store/mod.ts";
import { onEachStore } from "../../support/stores.ts";
import { registerVehicle, VIN } from "../store/cases/sample.ts";

/** A failed update whose next attempt is due, and campaigns in which that attempt ends as `retry` says. */
async function dueAttempt(store: Store, retry: () => Promise<Update | undefined>) {
  await registerVehicle(store);
  const ecus = [{ ecuId: "ECU_001" }];
  const { updateId } = await store.updates.create({ vin: VIN, initiator: "operator", attempts: 3, ecus });
  await store.updates.report({ updateId, vin: VIN, status: "failed", progress: 0 });
  assert.ok(await store.campaigns.schedule(updateId, 0));
  const log = createLogger({ write: () => {} });
  const metrics = createMetrics();
  const outbox = new Outbox({ store, metrics, log });
  const reports = new UpdateReports({ store, outbox, events: new Events(), metrics, log });
  const unused = () => Promise.reject(new Error("nobody asked for this"));
  const updates = { reports, retry, cancel: unused, latestAttempt: unused };
  return { updateId, campaigns: new CampaignService({ store, updates, outbox, log }) };
}

const dueIds = async (store: Store) => (await store.campaigns.due()).map(({ updateId }) => updateId);

onEachStore([
  {
    name: "an attempt that a stop of the server breaks off is begun after the next start",
    run: async ({ store }) => {
      const stop = new AbortController();
      const { campaigns, updateId } = await dueAttempt(store, () => {
        stop.abort(new DOMException("the server is stopping", "AbortError"));
        return Promise.reject(stop.signal.reason);
      });
      await assert.rejects(campaigns.sweepRetries(stop.signal), /the server is stopping/);
      assert.deepEqual(await dueIds(store), [updateId]);
    },
  },
  {
    name: "an attempt for which too much is being built is begun later",
    run: async ({ store }) => {
      const { campaigns, updateId } = await dueAttempt(
        store,
        () => Promise.reject(new CodecBusyError("too many")),
      );
      await assert.rejects(campaigns.sweepRetries(new AbortController().signal), CodecBusyError);
      assert.deepEqual(await dueIds(store), [updateId]);
    },
  },
  {
    name: "an attempt that cannot be made is called off, and the update says why",
    run: async ({ store }) => {
      const { campaigns, updateId } = await dueAttempt(
        store,
        () => Promise.reject(new Error("its image is gone")),
      );
      assert.equal(await campaigns.sweepRetries(new AbortController().signal), 0);
      assert.deepEqual(await dueIds(store), []);
      assert.match((await store.updates.find(updateId))?.error ?? "", /not tried again: .*its image is gone/);
    },
  },
]);

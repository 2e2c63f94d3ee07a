// The detector's running figures: in memory at once, in the database together.

import assert from "node:assert/strict";
import { createLogger } from "../../../src/log.ts";
import { Events } from "../../../src/server/events.ts";
import { createMetrics } from "../../../src/server/metrics.ts";
import type { MetricState } from "../../../src/server/store/mod.ts";
import { AnomalyDetector } from "../../../src/server/telemetry/anomalies.ts";
import { onEachStore } from "../../support/stores.ts";

const vin = "KMHTEST1AAA000001";
const rules = [{ metric: "temp", max: 100 }];

onEachStore([
  {
    name: "running figures are written once for many batches, and go on after a restart",
    run: async ({ store }) => {
      const writes: MetricState[][] = [];
      const anomalies = Object.create(store.anomalies, {
        saveStates: {
          value: (states: MetricState[]) => {
            writes.push(states);
            return store.anomalies.saveStates(states);
          },
        },
      });
      const make = () =>
        new AnomalyDetector({
          rules,
          store: { ...store, anomalies },
          events: new Events(),
          metrics: createMetrics(),
          log: createLogger({ write: () => {} }),
        });
      const first = make();
      const measured = (temp: number, second: number) => ({
        vin,
        timestamp: new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
        metrics: { temp },
      });
      for (let n = 1; n <= 20; n++) await first.examine([measured(n, n), measured(n, n)]);
      assert.equal(writes.length, 0);
      await first.examine([measured(101, 21)]);
      assert.equal((await store.anomalies.list(vin)).length, 1, "what is found is stored at once");
      await first.close();
      assert.equal(writes.length, 1);
      const [{ count, mean, lastValue }] = await store.anomalies.states(vin);
      // 20 × 21 / 2 twice, and 101: 521 in 41 values.
      assert.deepEqual({ count, mean: mean.toFixed(9), lastValue }, {
        count: 41,
        mean: (521 / 41).toFixed(9),
        lastValue: 101,
      });
      const second = make();
      await second.examine([measured(9, 30)]);
      await second.close();
      assert.equal((await store.anomalies.states(vin))[0].count, 42);
    },
  },
]);

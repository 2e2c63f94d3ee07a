// What is stored of each ECU of a report that was taken.

import assert from "node:assert/strict";
import { createLogger } from "../../../src/log.ts";
import { Events } from "../../../src/server/events.ts";
import { createMetrics } from "../../../src/server/metrics.ts";
import { VersionReports } from "../../../src/server/uptane/version_reports.ts";
import { onEachStore } from "../../support/stores.ts";
import { ecu, report } from "../running_server.ts";
import { registerVehicle, VIN } from "../store/cases/sample.ts";

onEachStore([{
  name: "an ECU that answered is reachable, and why it signed nothing is not why it would not be",
  run: async ({ store, clock }) => {
    await registerVehicle(store);
    const log = createLogger({ write: () => {} });
    const reports = new VersionReports({
      store,
      events: new Events(),
      metrics: createMetrics(),
      log,
      now: clock.now,
    });
    await reports.take({
      ...report(VIN, "VMG-001", [
        ecu("ECU_001", "1.0.0", { error: "no version report: NRC 0x31" }),
        ecu("ECU_002", "1.0.0", { status: "unreachable", sw_version: undefined, error: "no answer" }),
      ]),
      timestamp: clock.now().toISOString(),
    });
    const ecus = await store.vci.ecus(VIN);
    assert.deepEqual(
      ecus.map(({ ecuId, reachable, unreachableReason }) => [ecuId, reachable, unreachableReason]),
      [
        ["ECU_001", true, null],
        ["ECU_002", false, "no answer"],
      ],
    );
  },
}]);

// `zonebench dtc` on the simulated bench: over DoIP, and through server, MQTT and vehicle gateway.

import assert from "node:assert/strict";
import { join } from "node:path";
import { Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

Deno.test("dtc lists, filters and clears what the bench's ECUs have stored", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.46.0/24" });
  const serving = await program.serve(["--only", "bench"], "Bench running");
  try {
    const all = {
      ecu_id: "ECU_001",
      status_availability_mask: "0xFF",
      dtcs: [
        {
          code: "P0562-16",
          number: "0x056216",
          status: "0x09",
          status_names: ["testFailed", "confirmedDtc"],
        },
        { code: "U0100-87", number: "0xC10087", status: "0x08", status_names: ["confirmedDtc"] },
      ],
    };
    assert.deepEqual(await program.json(["dtc", "ECU_001"]), all);
    assert.deepEqual(await program.json(["dtc", "ECU_001", "--status", "testFailed"]), {
      ...all,
      dtcs: [all.dtcs[0]],
    });
    assert.deepEqual(await program.json(["dtc", "ECU_001", "--snapshot", "--extended"]), {
      ...all,
      dtcs: [
        {
          ...all.dtcs[0],
          snapshots: [{
            record: 1,
            values: [
              { did: "0xF40C", data: "0BB8" },
              { did: "0xF40D", data: "00" },
              { did: "0xF442", data: "2AF8" },
            ],
          }],
          extended_data: [{ record: null, data: "01030205" }],
        },
        { ...all.dtcs[1], snapshots: [], extended_data: [] },
      ],
    });
    const records = await program.run(["dtc", "ECU_001", "--snapshot", "--extended"]);
    assert.match(records.stdout, /^P0562-16 snapshot 0x01: 0xF40C=0BB8 0xF40D=00 0xF442=2AF8$/m);
    assert.match(records.stdout, /^P0562-16 extended data records: 01030205$/m);

    const shown = await program.run(["dtc", "ECU_001"]);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^P0562-16 {2}0x09 {4}testFailed, confirmedDtc$/m);

    assert.deepEqual(await program.json(["dtc", "ECU_001", "--clear", "P0562-16"]), {
      ecu_id: "ECU_001",
      cleared: "P0562-16",
    });
    const after = await program.json(["dtc", "ECU_001", "--status", "0x0F"]) as typeof all;
    assert.deepEqual(after.dtcs, [all.dtcs[1]]);
    assert.deepEqual(await program.json(["dtc", "ECU_001", "--clear"]), {
      ecu_id: "ECU_001",
      cleared: "all",
    });
    const none = await program.run(["dtc", "ECU_001", "--status", "confirmedDtc"]);
    assert.equal(none.stdout, "ECU_001: no DTC with a status of 0x08\n");

    // Over CAN, with normal fixed addressing.
    assert.deepEqual(await program.json(["dtc", "ECU_008"]), {
      ecu_id: "ECU_008",
      status_availability_mask: "0xFF",
      dtcs: [],
    });
    assert.deepEqual(await program.json(["dtc", "ECU_007", "--clear"]), {
      ecu_id: "ECU_007",
      cleared: "all",
    });

    const unknown = await program.run(["dtc", "ECU_001", "--clear", "P0001-00"]);
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /ClearDiagnosticInformation refused with NRC 0x31 requestOutOfRange/);
  } finally {
    assert.equal(await serving.stop(), 0, serving.log);
  }
});

Deno.test("dtc through the server gives the same as over the bus", async () => {
  await using folder = await temporaryFolder();
  const program = new Program({ data: join(folder.path, "data"), network: "127.0.104.0/24" });
  await using serving = await program.serve();
  await serving.logged("[MQTT] New connection");
  for (let tries = 0; (await program.run(["vci", vin, "--json"])).code !== 0; tries++) {
    assert.ok(tries < 50, serving.log);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const direct = await program.json(["dtc", "ECU_001"]);
  assert.deepEqual(await program.json(["dtc", "ECU_001", "--via-server"]), direct);
  assert.deepEqual(await program.json(["dtc", "ECU_001", "--clear", "--via-server"]), {
    ecu_id: "ECU_001",
    cleared: "all",
  });
  assert.equal(await serving.stop("SIGTERM"), 0);
});

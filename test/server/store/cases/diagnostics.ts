// Remote diagnosis.
import assert from "node:assert/strict";
import { NotFoundError } from "../../../../src/server/store/mod.ts";
import type { Diagnostic, Store } from "../../../../src/server/store/mod.ts";
import type { StoreTest } from "../../../support/stores.ts";
import { OTHER_VIN, registerVehicle, VIN } from "./sample.ts";

async function ask(store: Store, ecuId = "ECU_003", vin = VIN): Promise<Diagnostic> {
  return await store.diagnostics.create({ vin, ecuId, serviceId: "0x22", data: "F190", timeout: 10_000 });
}

export const diagnosticCases: StoreTest[] = [
  {
    name: "the first answer is the result; a second one changes nothing",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { requestId, status, deadline } = await ask(store);
      assert.equal(status, "pending");
      assert.deepEqual(deadline, clock.in(10_000));
      const answer = { responseData: "62F190", decoded: { did: "F190", text: "VIN" } };
      assert.equal(await store.diagnostics.answer(VIN, requestId, answer), "answered");
      assert.equal(await store.diagnostics.answer(VIN, requestId, { nrc: "0x31" }), "duplicate");
      const found = await store.diagnostics.find(requestId);
      assert.equal(found?.status, "completed");
      assert.equal(found?.responseData, "62F190");
      assert.deepEqual(found?.decoded, { did: "F190", text: "VIN" });
      assert.equal(found?.nrc, null);
      assert.deepEqual(found?.answered, clock.now());
      assert.equal(found?.lateAnswer, null);
    },
  },
  {
    name: "a negative response and an error are failures",
    run: async ({ store }) => {
      await registerVehicle(store);
      const negative = await ask(store);
      await store.diagnostics.answer(VIN, negative.requestId, { responseData: "7F2231", nrc: "0x31" });
      const lost = await ask(store);
      await store.diagnostics.answer(VIN, lost.requestId, { error: "ECU_003 does not answer" });
      const unsent = await ask(store);
      assert.equal(await store.diagnostics.fail(unsent.requestId, "no such ECU"), true);
      assert.equal(await store.diagnostics.fail(unsent.requestId, "again"), false);
      const rows = await Promise.all(
        [negative, lost, unsent].map((row) => store.diagnostics.find(row.requestId)),
      );
      assert.deepEqual(rows.map((row) => [row?.status, row?.nrc, row?.error]), [
        ["failed", "0x31", null],
        ["failed", null, "ECU_003 does not answer"],
        ["failed", null, "no such ECU"],
      ]);
    },
  },
  {
    name: "an answer after the time-out is kept beside it, once, and the status stays",
    run: async ({ store, clock }) => {
      await registerVehicle(store);
      const { requestId } = await ask(store);
      clock.advance(9_999);
      assert.deepEqual(await store.diagnostics.expire(), []);
      clock.advance(1);
      assert.deepEqual((await store.diagnostics.expire()).map((row) => [row.requestId, row.status]), [
        [requestId, "timeout"],
      ]);
      assert.deepEqual(await store.diagnostics.expire(), []);
      assert.equal(await store.diagnostics.answer(VIN, requestId, { responseData: "62F190" }), "late");
      assert.equal(await store.diagnostics.answer(VIN, requestId, { responseData: "62FFFF" }), "duplicate");
      const found = await store.diagnostics.find(requestId);
      assert.equal(found?.status, "timeout");
      assert.equal(found?.responseData, null);
      assert.deepEqual(found?.lateAnswer, { responseData: "62F190", nrc: null, decoded: null, error: null });
      assert.deepEqual(found?.lateAt, clock.now());
    },
  },
  {
    name: "of answers that come at once one counts",
    run: async ({ store }) => {
      await registerVehicle(store);
      const { requestId } = await ask(store);
      const outcomes = await Promise.all(
        Array.from(
          { length: 10 },
          (_, n) => store.diagnostics.answer(VIN, requestId, { responseData: `62F1900${n}` }),
        ),
      );
      assert.equal(outcomes.filter((outcome) => outcome === "answered").length, 1);
      assert.equal(outcomes.filter((outcome) => outcome === "duplicate").length, 9);
    },
  },
  {
    name: "only the vehicle that was asked can answer",
    run: async ({ store }) => {
      await registerVehicle(store);
      await registerVehicle(store, OTHER_VIN, "VMG-002");
      const { requestId } = await ask(store);
      assert.equal(await store.diagnostics.answer(OTHER_VIN, requestId, { responseData: "62" }), "unknown");
      assert.equal(await store.diagnostics.answer(VIN, "nonsense", { responseData: "62" }), "unknown");
      assert.equal((await store.diagnostics.find(requestId))?.status, "pending");
      await assert.rejects(ask(store, "ECU_001", "KMHXX00XXXX000009"), NotFoundError);
    },
  },
  {
    name: "requests are listed newest first, by vehicle, ECU and status",
    run: async ({ store }) => {
      await registerVehicle(store);
      const first = await ask(store, "ECU_001");
      const second = await ask(store, "ECU_002");
      await store.diagnostics.answer(VIN, first.requestId, { responseData: "62" });
      const ids = async (filter: Parameters<Store["diagnostics"]["list"]>[0]) =>
        (await store.diagnostics.list(filter)).items.map((row) => row.requestId);
      assert.deepEqual(await ids({}), [second.requestId, first.requestId]);
      assert.deepEqual(await ids({ status: "pending" }), [second.requestId]);
      assert.deepEqual(await ids({ vin: VIN, ecuId: "ECU_001" }), [first.requestId]);
      assert.deepEqual(await ids({ vin: OTHER_VIN }), []);
      assert.equal((await store.diagnostics.list({ limit: 1 })).total, 2);
    },
  },
];

import assert from "node:assert/strict";
import { type IsoTpOptions, settingsFor } from "../../../hardware/isotp/settings.ts";

Deno.test("timeouts default to 1,000 ms, as 9.8.2 has them", () => {
  const { nAs, nAr, nBs, nCr, txDl, fd, blockSize, stMinByte, padding } = settingsFor({});
  assert.deepEqual(
    { nAs, nAr, nBs, nCr, txDl, fd, blockSize, stMinByte, padding },
    {
      nAs: 1_000,
      nAr: 1_000,
      nBs: 1_000,
      nCr: 1_000,
      txDl: 8,
      fd: false,
      blockSize: 0,
      stMinByte: 0,
      padding: 0xcc,
    },
  );
});

Deno.test("options that cannot be are refused, quoting them", () => {
  const rows: [options: IsoTpOptions, message: RegExp][] = [
    [{ txDl: 9 }, /txDl.*got 9/],
    [{ txDl: 64, fd: false }, /txDl: 64 bytes need fd/],
    [{ bitRateSwitch: true }, /bitRateSwitch/],
    [{ padding: 256 }, /padding.*got 256/],
    [{ blockSize: 256 }, /blockSize.*got 256/],
    [{ stMin: 128 }, /STmin.*got 128/],
    [{ wftMax: -1 }, /wftMax.*got -1/],
    [{ maxWaits: 0.5 }, /maxWaits.*got 0.5/],
    [{ nBs: NaN }, /nBs.*NaN/],
    [{ nCr: -1 }, /nCr.*-1/],
    [{ maxMessageLength: 0 }, /maxMessageLength.*got 0/],
    [{ maxMessageLength: 4_294_967_296 }, /maxMessageLength.*got 4294967296/],
    [{ maxQueuedMessages: 0 }, /maxQueuedMessages.*got 0/],
    [{ maxQueuedBytes: 0 }, /maxQueuedBytes.*got 0/],
  ];
  for (const [options, message] of rows) {
    assert.throws(() => settingsFor(options), { name: "RangeError", message }, JSON.stringify(options));
  }
});

// Interrupt sweep over DoIP: see interrupt_sweep.ts.

import { doipPaths } from "./cuttable_paths.ts";
import { interruptSweep } from "./interrupt_sweep.ts";

for (const banks of [2, 1] as const) {
  Deno.test(`DoIP, ${banks} bank(s): cut after every message, without a way back`, async () => {
    await interruptSweep(doipPaths, { banks, reconnects: false, resumes: false });
  });
}

Deno.test("DoIP, 1 bank: cut after every message, connecting again and starting over", async () => {
  await interruptSweep(doipPaths, { banks: 1, reconnects: true, resumes: false });
});

Deno.test("DoIP, 2 banks: cut after every message, connecting again and going on where it was", async () => {
  await interruptSweep(doipPaths, { banks: 2, reconnects: true, resumes: true });
});

// Interrupt sweep over CAN: see interrupt_sweep.ts.

import { canPaths } from "./can_paths.ts";
import { interruptSweep } from "./interrupt_sweep.ts";

for (const banks of [2, 1] as const) {
  Deno.test(`CAN, ${banks} bank(s): cut after every frame, without a way back`, async () => {
    await interruptSweep(canPaths, { banks, reconnects: false, resumes: false });
  });
}

Deno.test("CAN, 1 bank: cut after every frame, connecting again and starting over", async () => {
  await interruptSweep(canPaths, { banks: 1, reconnects: true, resumes: false });
});

Deno.test("CAN, 2 banks: cut after every frame, connecting again and going on where it was", async () => {
  await interruptSweep(canPaths, { banks: 2, reconnects: true, resumes: true });
});

// A server whose port another program has: which listener, where, and what to do about it.

import assert from "node:assert/strict";
import { Program, temporaryFolder } from "../support/program.ts";
import { join } from "node:path";

Deno.test("a port that another program has is named, with what to do about it", async (test) => {
  await using folder = await temporaryFolder();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const data = join(folder.path, "data");
  for (
    const [listener, what] of [["https", "HTTPS server"], ["mqtt", "MQTT server"], [
      "local",
      "local listener",
    ]]
  ) {
    await test.step(listener, async () => {
      const program = new Program({
        data,
        network: "127.0.205.0/24",
        settings: [`server.${listener}.port=${port}`],
      });
      await using serving = program.start(["serve", "--only", "server"]);
      const { code } = await serving.ended;
      assert.equal(code, 1, serving.log);
      const last = serving.log.trim().split("\n").at(-1) ?? "";
      assert.match(
        last,
        new RegExp(`^error: the ${what} .*127\\.0\\.0\\.1:${port}: .*address already in use`, "i"),
      );
      assert.match(last, /stop the program .*--set server\.https\.port=N/);
    });
  }
});

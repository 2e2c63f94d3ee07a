// The launcher's tests in Rust: what it refuses in an index, which no executable that is built here has.

import assert from "node:assert/strict";
import { cargo } from "../support/executables.ts";
import { interopTest } from "../support/peers.ts";

interopTest("the launcher's own tests pass", [cargo], async () => {
  const folder = await Deno.makeTempDir({ prefix: "zonebench-cargo-" });
  try {
    const { success, stdout, stderr } = await new Deno.Command("cargo", {
      args: ["test", "--quiet", "--locked", "--manifest-path", "launcher/Cargo.toml"],
      env: { CARGO_TARGET_DIR: folder },
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.ok(success, text);
    assert.match(text, /test result: ok\. [1-9]\d* passed; 0 failed/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// An upload onto a disk that is full: a small file system in memory, which only root may mount.

import assert from "node:assert/strict";
import { join } from "node:path";
import { ProblemError } from "../../../src/contract/client.ts";
import { routes } from "../../../src/contract/routes.ts";
import { chunks, startTestServer } from "../running_server.ts";

async function command(name: string, ...args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(name, { args, stdin: "null", stdout: "null", stderr: "null" }).output())
      .success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function mayMount(): Promise<boolean> {
  const directory = await Deno.makeTempDir();
  try {
    const mounted = await command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory);
    return mounted && await command("umount", directory);
  } finally {
    await Deno.remove(directory);
  }
}

const permitted = await mayMount();
if (!permitted) console.log("SKIP an upload onto a full disk: mounting a file system is for root");

Deno.test({
  name: "an upload onto a full disk is refused with 507 and leaves nothing; the server serves on",
  ignore: !permitted,
  fn: async () => {
    await using server = await startTestServer("127.0.34.18");
    const temporary = join(server.directory, "data", "tmp");
    const upload = (version: string, size: number) =>
      server.operator.rest.upload(routes.addFirmware, {
        query: { ecu_type: "T", hw_version: "H", version, format: "binary" },
        stream: chunks(new Uint8Array(size).fill(7), 65_536),
      });
    const health = async () => {
      const { hostname, port } = server.server.local;
      const response = await fetch(`http://${hostname}:${port}/healthz`);
      const { status, disk } = await response.json();
      return [response.status, status, disk];
    };
    assert.deepEqual(await health(), [200, "ok", "ok"]);
    assert.ok(await command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", temporary));
    try {
      assert.deepEqual(await health(), [200, "degraded", "nearly full"]);
      await assert.rejects(upload("1.0.0", 1_000_000), (error) => {
        assert.ok(error instanceof ProblemError, String(error));
        assert.deepEqual([error.status, error.code], [507, "disk_full"]);
        return true;
      });
      assert.deepEqual([...Deno.readDirSync(temporary)], []);
    } finally {
      assert.ok(await command("umount", temporary));
    }
    assert.equal((await upload("1.0.0", 1_000_000)).payload_size, 1_000_000);
  },
});

// python-tuf, TUF's reference implementation, as a peer: fetched by pip into the cache, and run.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Peer } from "../support/peers.ts";
import { pythonPackages } from "../support/python_packages.ts";

/** ML-DSA (TAP 21) came with securesystemslib 1.5. */
const packages = [
  "tuf==7.0.1",
  "securesystemslib==1.6.0",
  "cryptography==50.0.2",
  "cffi==2.1.1",
  "pycparser==3.12",
  "urllib3==2.8.0",
];

const folder = pythonPackages("python-tuf-7.0.1", packages);

/** The peer. */
export const pythonTuf: Peer = {
  command: folder === undefined ? "python-tuf" : join(folder, "tuf", "__init__.py"),
  install: `apt-get install python3-pip (the test then fetches ${packages[0]} by pip)`,
};

/** Runs the peer's script. @returns {Promise<string>} what it printed */
export async function runPythonTuf(args: string[], input: string): Promise<string> {
  const process = new Deno.Command("/usr/bin/python3", {
    args: [fileURLToPath(new URL("./uptane_python_tuf_peer.py", import.meta.url)), ...args],
    env: { PYTHONPATH: folder ?? "" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(60_000),
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await process.output();
  if (!success) throw new Error(`python-tuf: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

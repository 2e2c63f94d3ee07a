// python-tuf, TUF's reference implementation, as a peer: fetched by pip into the cache, and run.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Peer, present } from "../support/peers.ts";

/** ML-DSA (TAP 21) came with securesystemslib 1.5. */
const packages = [
  "tuf==7.0.1",
  "securesystemslib==1.6.0",
  "cryptography==50.0.2",
  "cffi==2.1.1",
  "pycparser==3.12",
  "urllib3==2.8.0",
];

const python = "/usr/bin/python3";
const cache = join(
  Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? Deno.cwd(), ".cache"),
  "zonebench-python-tuf-7.0.1",
);

function installed(): boolean {
  return present({ command: join(cache, "tuf", "__init__.py"), install: "" });
}

/** Makes the folder where it is missing; it appears whole. */
function install(): void {
  if (installed()) return;
  const unpacked = `${cache}.${crypto.randomUUID()}`;
  try {
    const { success } = new Deno.Command(python, {
      args: [
        ...["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"],
        ...["--disable-pip-version-check", "--root-user-action=ignore", "--target", unpacked, ...packages],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync();
    if (success) Deno.renameSync(unpacked, cache);
  } catch (error) {
    // No Python here; or another run has made the folder meanwhile.
    if (!(error instanceof Deno.errors.NotFound) && !installed()) throw error;
  }
  if (present({ command: join(unpacked, "tuf", "__init__.py"), install: "" })) {
    Deno.removeSync(unpacked, { recursive: true });
  }
}

install();

/** The peer. */
export const pythonTuf: Peer = {
  command: join(cache, "tuf", "__init__.py"),
  install: `apt-get install python3-pip (the test then fetches ${packages[0]} by pip)`,
};

/** Runs the peer's script. @returns {Promise<string>} what it printed */
export async function runPythonTuf(args: string[], input: string): Promise<string> {
  const process = new Deno.Command(python, {
    args: [fileURLToPath(new URL("./uptane_python_tuf_peer.py", import.meta.url)), ...args],
    env: { PYTHONPATH: cache },
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

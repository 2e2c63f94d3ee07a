// What tests on serial lines need besides the project: pseudo terminals by socat, and python-can as a foreign program.
import { join } from "node:path";
import { peers } from "./peers.ts";

export const { socat, pythonCan } = peers;

/** Two devices, each the other's far end, as a cable between two serial ports. */
export interface PtyPair extends AsyncDisposable {
  readonly left: string;
  readonly right: string;
  /** Ends socat: both devices hang up, as when a plug is pulled. */
  unplug(): Promise<void>;
  /** Makes them again at the same paths. */
  plugIn(): Promise<void>;
}

/** Makes a pair of pseudo terminals in a folder of its own. */
export async function ptyPair(): Promise<PtyPair> {
  const folder = await Deno.makeTempDir({ prefix: "zonebench-pty-" });
  const left = join(folder, "left");
  const right = join(folder, "right");
  let child: Deno.ChildProcess | undefined;
  const unplug = async () => {
    child?.kill("SIGKILL");
    await child?.status;
    child = undefined;
    // Killed so hard it leaves its links.
    for (const path of [left, right]) await Deno.remove(path).catch(() => {});
  };
  const plugIn = async () => {
    child = new Deno.Command("socat", {
      args: [`PTY,link=${left},raw,echo=0,iexten=0`, `PTY,link=${right},raw,echo=0,iexten=0`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    for (let tries = 0; tries < 500; tries++) {
      const there = await Promise.all(
        [left, right].map((path) => Deno.lstat(path).then(() => true, () => false)),
      );
      if (there.every(Boolean)) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error("socat made no pseudo terminals within 5 s");
  };
  await plugIn();
  return {
    left,
    right,
    unplug,
    plugIn,
    async [Symbol.asyncDispose]() {
      await unplug();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

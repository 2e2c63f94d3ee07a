// Whether this user may open a serial port, told without opening it: opening restarts some adapters.
import { socatOutput } from "./ports.ts";

/** What the system says of a port. */
export interface PortAccess {
  /** As `ls` writes it, e.g. `crw-rw----`. */
  mode: string;
  owner: string;
  group: string;
  /** Whether this user may read and write it. */
  allowed: boolean;
}

/**
 * Looks at a device.
 * @returns undefined where it cannot be told
 * @throws MissingToolError without socat, through which it is read
 */
export async function portAccess(path: string): Promise<PortAccess | undefined> {
  const [listed, user] = [await socatOutput(`EXEC:ls -lL ${path}`), await socatOutput("EXEC:id")];
  return listed === undefined || user === undefined ? undefined : accessOf(listed, user);
}

/**
 * @param listed a line of `ls -l`, e.g. `crw-rw---- 1 root dialout 188, 0 Nov 21 10:00 /dev/ttyUSB0`
 * @param user what `id` says, e.g. `uid=1000(ana) gid=1000(ana) groups=1000(ana),20(dialout)`
 */
export function accessOf(listed: string, user: string): PortAccess | undefined {
  const [, mode, owner, group] = /^(c[-rwxsStT]{9})\S* +\d+ +(\S+) +(\S+) /.exec(listed) ?? [];
  const [, uid, name] = /^uid=(\d+)(?:\(([^)]+)\))?/.exec(user) ?? [];
  if (mode === undefined || uid === undefined) return undefined;
  const groups = [...user.replace(/^uid=\S+ /, "").matchAll(/\d+(?:\(([^)]+)\))?/g)].map(([id, of]) =>
    of ?? id
  );
  // The first class that fits is the one that counts (POSIX.1, file access permissions); for root none does.
  const at = owner === name || owner === uid ? 1 : groups.includes(group) ? 4 : 7;
  return { mode, owner, group, allowed: uid === "0" || mode.slice(at, at + 2) === "rw" };
}

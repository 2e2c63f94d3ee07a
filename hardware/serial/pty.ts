// Pseudo terminals, so that any program that opens a serial port can open a simulated adapter.
import type { ByteStream } from "../byte_stream.ts";
import { MissingToolError, PortBusyError, SerialError } from "./errors.ts";
import { socatPath, SocatProcess } from "./socat.ts";
import { stty } from "./stty.ts";

export interface PtyOptions {
  /** Who may open it, in octal. @default 0o600 */
  mode?: number;
  /** Ends it. */
  signal?: AbortSignal;
}

/** A pseudo terminal: programs open `path`, what they write is read here. */
export interface Pty extends ByteStream {
  /** The link to the device that programs open. */
  readonly path: string;
  /** Resolves when socat and the link are gone. */
  readonly ended: Promise<void>;
}

/**
 * Makes a pseudo terminal with a link at `path`. It stays when programs close it, until `close`.
 *
 * @throws {MissingToolError} where socat is not installed
 * @throws {SerialError} when the path is taken by something that is no link, or cannot be made
 */
export async function makePty(path: string, options: PtyOptions = {}): Promise<Pty> {
  const { mode = 0o600, signal } = options;
  signal?.throwIfAborted();
  await checkFree(path);
  const carrier = await SocatProcess.start(path, [
    "STDIO",
    `PTY,link=${socatPath(path)},raw,echo=0,iexten=0,mode=${mode.toString(8).padStart(4, "0")}`,
  ]);
  const target = await Deno.readLink(path);
  const close = () => void carrier.close();
  signal?.addEventListener("abort", close, { once: true });
  const ended = carrier.ended.then(async () => {
    signal?.removeEventListener("abort", close);
    await removeLink(path, target);
  });
  if (signal?.aborted) {
    close();
    await ended;
    throw signal.reason;
  }
  return {
    path,
    ended,
    read: (into) => carrier.read(into),
    async write(bytes) {
      await carrier.write(bytes);
      return bytes.length;
    },
    close,
  };
}

/** socat would put its link over whatever is there. */
async function checkFree(path: string): Promise<void> {
  const info = await linkInfo(path);
  if (info === undefined) return;
  if (!info.isSymlink) throw new SerialError(path, "something is there that is no link: it is left alone");
  const target = await Deno.readLink(path);
  if (!target.startsWith("/dev/pts/")) {
    throw new SerialError(path, `a link to ${target} is there: it is left alone`);
  }
  if (await isTerminal(path)) {
    throw new PortBusyError(path, `leads to ${target}, which is in use; remove the link if it is not yours`);
  }
  // A socat that was killed left it.
  await Deno.remove(path);
}

async function isTerminal(path: string): Promise<boolean> {
  try {
    await stty(path, ["speed"]);
    return true;
  } catch (error) {
    if (error instanceof MissingToolError || !(error instanceof SerialError)) throw error;
    return false;
  }
}

/** socat takes its link away itself, unless it was killed. */
async function removeLink(path: string, target: string): Promise<void> {
  if ((await linkInfo(path))?.isSymlink && await Deno.readLink(path) === target) await Deno.remove(path);
}

async function linkInfo(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

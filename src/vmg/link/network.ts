// What the machine's network says of itself: its addresses, and the one from which it would reach another machine. The route
// is asked of iproute2 (Linux): the kernel's own table under /proc is closed to a program without all permissions. Where
// there is no iproute2, the addresses alone count.

import { networkInterfaces } from "node:os";
import { z } from "zod";

/** The network as the address watch sees it. */
export interface Network {
  /** Addresses of the interfaces. */
  addresses(): ReadonlySet<string>;
  /**
   * The address from which packets to `remote` leave; null when there is no way, undefined when that cannot be told.
   * @param signal ends the question: undefined
   */
  sourceFor(remote: string, signal: AbortSignal): Promise<string | null | undefined>;
  /** The address that connections to the server are to leave from; throws while there is none. @default the system chooses */
  readonly bindAddress?: string | undefined;
}

/** Longest wait for an answer, milliseconds. */
const limit = 2_000;

/** What `ip` exits with when the kernel refused what it was asked: there is no route (ip-route(8), EXIT STATUS of ip(8)). */
const refusedByKernel = 2;

const routes = z.tuple([z.object({ prefsrc: z.string().optional() })]).rest(z.unknown());

/** The network of this machine, or of the network namespace that the program runs in. */
export class SystemNetwork implements Network {
  /** That there is no such program, or no permission for it, does not change while this one runs. */
  #absent = false;
  readonly #program: string;

  /** @param program iproute2's `ip` */
  constructor(program = "ip") {
    this.#program = program;
  }

  addresses(): ReadonlySet<string> {
    return new Set(
      Object.values(networkInterfaces()).flatMap((list) => list ?? []).map(({ address }) => address),
    );
  }

  async sourceFor(remote: string, signal: AbortSignal): Promise<string | null | undefined> {
    // What never leaves the machine takes no route; a link-local address is none without its interface.
    const local = remote.startsWith("127.") || remote === "::1" || /^fe80:/i.test(remote);
    if (this.#absent || local || signal.aborted || this.addresses().has(remote)) return undefined;
    try {
      const { success, code, stdout } = await new Deno.Command(this.#program, {
        args: ["-json", "route", "get", remote],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
        signal: AbortSignal.any([signal, AbortSignal.timeout(limit)]),
      }).output();
      return success
        ? sourceIn(new TextDecoder().decode(stdout))
        : code === refusedByKernel
        ? null
        : undefined;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) throw error;
      this.#absent = true;
      return undefined;
    }
  }
}

/** @param text what `ip -json route get` printed */
export function sourceIn(text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A version that knows no JSON: nothing can be told.
    return undefined;
  }
  const parsed = routes.safeParse(value);
  return parsed.success ? parsed.data[0].prefsrc : undefined;
}

/** The machine's network. */
export const systemNetwork: Network = new SystemNetwork();

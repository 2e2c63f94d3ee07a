// CAN adapters as one command uses them: a port is opened once, however many of its ECUs are spoken to at a time.

import { traced } from "../../hardware/can/traced_bus.ts";
import { SlcanBus } from "../../hardware/can/slcan_bus.ts";
import { IsoTpClient } from "../../hardware/isotp/client.ts";
import { PortBusyError } from "../../hardware/serial/errors.ts";
import type { CanTap } from "../../hardware/trace/tap.ts";
import type { CanAdapter } from "../vmg/vehicle.ts";
import { CommandFailed } from "./output.ts";

interface Shared {
  opening: Promise<{ bus: SlcanBus; isotp: IsoTpClient }>;
  users: number;
}

/** An adapter in use. */
export interface UsedAdapter {
  isotp: IsoTpClient;
  /** What the adapter said of itself, where it did. */
  version: string | undefined;
  /** Ends this use; the last one closes the port. */
  release(): Promise<void>;
}

/** Adapters that are open, by where they are. */
const shared = new Map<string, Shared>();

/**
 * Opens an adapter, or joins in the use of the one that is open.
 * @throws {CommandFailed} when another program has it
 */
export async function useAdapter(
  adapter: CanAdapter,
  signal: AbortSignal,
  tap: CanTap | undefined,
): Promise<UsedAdapter> {
  let entry = shared.get(adapter.where);
  if (entry === undefined) {
    entry = { opening: open(adapter, signal, tap), users: 0 };
    shared.set(adapter.where, entry);
  }
  const { opening } = entry;
  entry.users++;
  const own = entry;
  const forget = () => {
    if (shared.get(adapter.where) === own) shared.delete(adapter.where);
  };
  try {
    const { bus, isotp } = await opening;
    // Whoever comes after it was lost opens it anew.
    bus.closed.then(forget);
    return {
      isotp,
      version: bus.identity.version,
      release: async () => {
        if (--own.users > 0) return;
        forget();
        isotp.close();
        await bus.close();
      },
    };
  } catch (error) {
    forget();
    throw error;
  }
}

async function open(adapter: CanAdapter, signal: AbortSignal, tap: CanTap | undefined) {
  let bus: SlcanBus;
  try {
    bus = await SlcanBus.open(adapter.openLine, { ...adapter.settings, name: adapter.adapterId, signal });
  } catch (cause) {
    if (!(cause instanceof PortBusyError)) throw cause;
    throw new CommandFailed(
      `${adapter.adapterId}: ${cause.message}. A port is one program's at a time: where zonebench serve has it, ` +
        "go through the server with diag … --via-server, or stop serve",
      { cause },
    );
  }
  return { bus, isotp: new IsoTpClient(tap === undefined ? bus : traced(bus, tap)) };
}

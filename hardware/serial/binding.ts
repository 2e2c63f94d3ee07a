// The binding that the serialport stream needs, for Deno: the native one that comes with it opens ports whose every read
// and write fails there. Nothing here is native; what `stty` cannot do is refused, never passed over.
import type {
  BindingInterface,
  BindingPortInterface,
  OpenOptions,
  PortInfo,
  PortStatus,
  SetOptions,
  UpdateOptions,
} from "@serialport/bindings-interface";
import type { Buffer } from "node:buffer";
import type { Carrier } from "./carrier.ts";
import { directRead, openDirect } from "./direct_carrier.ts";
import { LineSettingsError, PortClosedError, SerialError } from "./errors.ts";
import { listPorts } from "./ports.ts";
import { openThroughSocat } from "./socat.ts";
import { readBaudRate, stty, sttyArguments } from "./stty.ts";

/** How a device is had. */
export type Access =
  /** By this process where Deno lets it, else through socat. */
  | "auto"
  /** By this process, which needs all of Deno's permissions (`--allow-all`). */
  | "direct"
  /** Through a socat of our own: for that the permission to run `stty` and `socat` is enough. */
  | "socat";

/** What `open` takes. */
export interface DenoOpenOptions extends OpenOptions {
  /** @default "auto" */
  access?: Access;
}

/** An open port. */
export class DenoPort implements BindingPortInterface {
  readonly openOptions: Required<OpenOptions>;
  isOpen = true;
  readonly #carrier: Carrier;

  constructor(carrier: Carrier, openOptions: Required<OpenOptions>) {
    this.#carrier = carrier;
    this.openOptions = openOptions;
  }

  /** How the device is had. */
  get access(): Carrier["kind"] {
    return this.#carrier.kind;
  }

  async close(): Promise<void> {
    this.#checkOpen("close");
    this.isOpen = false;
    await this.#carrier.close();
  }

  async read(buffer: Buffer, offset: number, length: number): Promise<{ buffer: Buffer; bytesRead: number }> {
    this.#checkOpen("read");
    if (!Number.isInteger(offset) || !Number.isInteger(length) || offset < 0 || length < 1) {
      throw new RangeError(`read: expected an offset and a length above 0, got ${offset} and ${length}`);
    }
    if (offset + length > buffer.length) {
      throw new RangeError(`read: ${length} bytes at ${offset} do not fit into ${buffer.length}`);
    }
    const bytesRead = await this.#carrier.read(buffer.subarray(offset, offset + length));
    return { buffer, bytesRead };
  }

  async write(buffer: Buffer): Promise<void> {
    this.#checkOpen("write");
    await this.#carrier.write(buffer);
  }

  async update({ baudRate }: UpdateOptions): Promise<void> {
    this.#checkOpen("update");
    const { path } = this.openOptions;
    // `sttyArguments` checks the number.
    const rate = sttyArguments(path, { ...settingsOf(this.openOptions), baudRate }).at(-1);
    await stty(path, rate === undefined ? [] : [rate]);
    this.openOptions.baudRate = baudRate;
  }

  /**
   * DTR and RTS are on and no break is sent while a port is open; nothing else can be set without native code.
   *
   * @throws {SerialError} for whatever would change that
   */
  // deno-lint-ignore require-await -- refuses as the interface says, by a rejection
  async set(options: SetOptions): Promise<void> {
    this.#checkOpen("set");
    const impossible = [
      options.brk ? "brk" : undefined,
      options.dtr === false ? "dtr" : undefined,
      options.rts === false ? "rts" : undefined,
    ].filter((name) => name !== undefined);
    if (impossible.length > 0) {
      throw new SerialError(
        this.openOptions.path,
        `${impossible.join(", ")} cannot be set: there is no way to modem lines without native code`,
      );
    }
  }

  /** @throws {SerialError} always: modem lines cannot be read without native code */
  // deno-lint-ignore require-await -- refuses as the interface says, by a rejection
  async get(): Promise<PortStatus> {
    this.#checkOpen("get");
    throw new SerialError(
      this.openOptions.path,
      "CTS, DSR and DCD cannot be read: there is no way to modem lines without native code",
    );
  }

  async getBaudRate(): Promise<{ baudRate: number }> {
    this.#checkOpen("getBaudRate");
    return { baudRate: await readBaudRate(this.openOptions.path) };
  }

  /** @throws {SerialError} always: what the system holds cannot be thrown away without native code */
  // deno-lint-ignore require-await -- refuses as the interface says, by a rejection
  async flush(): Promise<void> {
    this.#checkOpen("flush");
    throw new SerialError(
      this.openOptions.path,
      "what the system holds cannot be discarded without native code; read and drop it instead",
    );
  }

  async drain(): Promise<void> {
    this.#checkOpen("drain");
    // `stty` sets with TCSADRAIN, which waits until all is on the line. `cread` is set already: nothing changes.
    await stty(this.openOptions.path, ["cread"]);
  }

  #checkOpen(what: string): void {
    if (!this.isOpen) throw new PortClosedError(this.openOptions.path, `${what}: the port is not open`);
  }
}

/** Opens and lists serial ports. */
export const denoBinding: BindingInterface<DenoPort, DenoOpenOptions, PortInfo> = {
  async list(): Promise<PortInfo[]> {
    return (await listPorts()).map((port) => ({
      path: port.path,
      manufacturer: port.manufacturer,
      serialNumber: port.serialNumber,
      pnpId: port.byId?.slice(port.byId.lastIndexOf("/") + 1),
      locationId: undefined,
      productId: port.productId,
      vendorId: port.vendorId,
    }));
  },

  async open(options: DenoOpenOptions): Promise<DenoPort> {
    const { path, access = "auto" } = options;
    if (typeof path !== "string" || path === "" || path.includes("\0")) {
      throw new TypeError(`path: expected a device, got ${JSON.stringify(path)}`);
    }
    const openOptions: Required<OpenOptions> = { ...settingsOf(options), path, lock: options.lock ?? true };
    const settings = sttyArguments(path, openOptions);
    await ignoreCarrier(path);
    const carrier = await openCarrier(path, openOptions.lock, access);
    try {
      await stty(path, carrier.kind === "direct" ? [...settings, ...directRead] : settings);
    } catch (error) {
      await carrier.close();
      throw error;
    }
    return new DenoPort(carrier, openOptions);
  },
};

/** Without it opening could wait for a carrier forever. It also tells whether this is a serial line at all. */
async function ignoreCarrier(path: string): Promise<void> {
  try {
    await stty(path, ["clocal"]);
  } catch (error) {
    // Whoever has the port may set it at the same moment; the lock, taken next, tells.
    if (!(error instanceof LineSettingsError)) throw error;
  }
}

function settingsOf(options: OpenOptions): Required<Omit<OpenOptions, "path" | "lock">> {
  return {
    baudRate: options.baudRate,
    dataBits: options.dataBits ?? 8,
    stopBits: options.stopBits ?? 1,
    parity: options.parity ?? "none",
    rtscts: options.rtscts ?? false,
    xon: options.xon ?? false,
    xoff: options.xoff ?? false,
    xany: options.xany ?? false,
    hupcl: options.hupcl ?? true,
  };
}

async function openCarrier(path: string, lock: boolean, access: Access): Promise<Carrier> {
  if (access !== "socat") {
    try {
      return await openDirect(path, lock);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      if (access === "direct") {
        throw new SerialError(path, "Deno opens devices with --allow-all alone", { cause: error });
      }
    }
  }
  return await openThroughSocat(path, lock);
}

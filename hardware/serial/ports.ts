// Which serial ports there are, and what the kernel knows of the USB device behind each.
import { errorOfSystem, MissingToolError } from "./errors.ts";

/** A serial port. Only the path is known of each. */
export interface SerialPortInfo {
  /** e.g. `/dev/ttyACM0` */
  path: string;
  /** The name that stays the same wherever it is plugged in, e.g. `/dev/serial/by-id/usb-…-if00`. */
  byId?: string;
  manufacturer?: string;
  product?: string;
  serialNumber?: string;
  /** Four lower-case hexadecimal digits each. */
  vendorId?: string;
  productId?: string;
  /** The kernel's driver, e.g. `cdc_acm`. */
  driver?: string;
}

/** The files that are looked at. */
export interface SystemFiles {
  /** Names in a folder, with where each leads if it is a link; empty where there is no such folder. */
  entries(folder: string): Promise<{ name: string; target?: string }[]>;
  /** First line of a file; undefined where there is none. */
  line(path: string): Promise<string | undefined>;
}

export interface ListPortsOptions {
  /** @default the system's, read through socat where Deno does not let this process */
  files?: SystemFiles;
}

const byIdFolder = "/dev/serial/by-id";
const ttyFolder = "/sys/class/tty";

/** Lists ports that a device stands behind, in the order of their names. */
export async function listPorts({ files = systemFiles() }: ListPortsOptions = {}): Promise<SerialPortInfo[]> {
  const names = new Map<string, string>();
  for (const { name, target } of await files.entries(byIdFolder)) {
    if (target !== undefined) names.set(target.slice(target.lastIndexOf("/") + 1), `${byIdFolder}/${name}`);
  }
  const ports: SerialPortInfo[] = [];
  for (const { name, target } of await files.entries(ttyFolder)) {
    // Consoles and pseudo terminals are virtual: they have no device.
    if (target === undefined || target.includes("/virtual/") || !/^[\w.-]+$/.test(name)) continue;
    const port = await describePort(files, name, names.get(name));
    if (port !== undefined) ports.push(port);
  }
  return ports.sort((a, b) => a.path.localeCompare(b.path, "en", { numeric: true }));
}

async function describePort(
  files: SystemFiles,
  name: string,
  byId: string | undefined,
): Promise<SerialPortInfo | undefined> {
  const device = `${ttyFolder}/${name}/device`;
  // An 8250 port that the board does not have is listed all the same, as type 0.
  if (await files.line(`${ttyFolder}/${name}/type`) === "0") return undefined;
  const link = (await files.entries(device)).find((entry) => entry.name === "driver")?.target;
  const port: SerialPortInfo = { path: `/dev/${name}`, byId, driver: link?.slice(link.lastIndexOf("/") + 1) };
  // The port is a function of a USB interface (cdc_acm), or of a port of one (usb-serial): one or two above is the device.
  for (const above of [`${device}/..`, `${device}/../..`]) {
    const vendorId = await files.line(`${above}/idVendor`);
    if (vendorId === undefined) continue;
    port.vendorId = vendorId;
    port.productId = await files.line(`${above}/idProduct`);
    port.manufacturer = await files.line(`${above}/manufacturer`);
    port.product = await files.line(`${above}/product`);
    port.serialNumber = await files.line(`${above}/serial`);
    break;
  }
  return port;
}

/** Reads files itself where it may, else through socat: Deno keeps /sys and /dev from processes without all permissions. */
export function systemFiles(): SystemFiles {
  let files = directFiles;
  const orSocat = async <T>(read: (from: SystemFiles) => Promise<T>): Promise<T> => {
    try {
      return await read(files);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable) || files === socatFiles) throw error;
      files = socatFiles;
      return await read(files);
    }
  };
  return {
    entries: (folder) => orSocat((from) => from.entries(folder)),
    line: (path) => orSocat((from) => from.line(path)),
  };
}

function missing(error: unknown): boolean {
  // Some files of /sys exist and cannot be read: EIO, ENODEV, EINVAL.
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    (error instanceof Error && "code" in error);
}

const directFiles: SystemFiles = {
  async entries(folder) {
    const entries: { name: string; target?: string }[] = [];
    try {
      for await (const { name, isSymlink } of Deno.readDir(folder)) {
        entries.push({ name, target: isSymlink ? await Deno.readLink(`${folder}/${name}`) : undefined });
      }
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable || !missing(error)) throw error;
    }
    return entries;
  },
  async line(path) {
    try {
      return (await Deno.readTextFile(path)).split("\n")[0].trim();
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable || !missing(error)) throw error;
      return undefined;
    }
  },
};

const socatFiles: SystemFiles = {
  async entries(folder) {
    const text = await socatOutput(`EXEC:ls -l ${folder}/`);
    return (text ?? "").split("\n").flatMap((line) => {
      // Permissions, links, owner, group, size, three of date, name.
      const match = /^[-a-z]\S*(?:\s+\S+){7}\s(.+)$/.exec(line);
      if (match === null) return [];
      const [name, target] = match[1].split(" -> ");
      return [{ name, target }];
    });
  },
  async line(path) {
    const text = await socatOutput(`OPEN:${path},rdonly`);
    return text?.split("\n")[0].trim();
  },
};

/** What socat reads of an address: where the runtime lets this process not read by itself. */
export async function socatOutput(address: string): Promise<string | undefined> {
  // The names come from folders of the kernel's; none of them has a character that means something to socat.
  if (!/^[A-Z]+:[-\w./, ]+$/.test(address)) return undefined;
  try {
    const { success, stdout } = await new Deno.Command("socat", {
      args: ["-u", address, "STDOUT"],
      env: { LC_ALL: "C" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
      signal: AbortSignal.timeout(10_000),
    }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new MissingToolError(ttyFolder, "socat is not installed (Debian: apt-get install socat)", {
        cause: error,
      });
    }
    if (error instanceof Deno.errors.NotCapable || !(error instanceof Error)) throw error;
    throw errorOfSystem(ttyFolder, error.message, error);
  }
}

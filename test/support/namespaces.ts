// Network namespaces of a test's own: a server behind a router, and a vehicle that is in reach of one radio tower at a time.
// Addresses stay within the namespaces; the machine's own network is not touched.

import { longTest, type Peer, unlessMissing } from "./peers.ts";

const install = "apt-get install iproute2 (and run as root, where network namespaces are allowed)";

type Missing = Pick<Peer, "command" | "install">;

/** One tower's network: the vehicle's address in it, and the router's. */
export interface Tower {
  name: string;
  vehicle: string;
  router: string;
}

/** The towers of the drive. */
export const towers = {
  a: { name: "tower_a", vehicle: "10.1.1.100", router: "10.1.1.1" },
  b: { name: "tower_b", vehicle: "10.2.5.200", router: "10.2.5.1" },
  c: { name: "tower_c", vehicle: "10.3.9.150", router: "10.3.9.1" },
} satisfies Record<string, Tower>;

/** The server's address behind the router, and the router's on that side. */
export const serverAddress = "10.0.0.2";
const uplinkAddress = "10.0.0.1";

/** Whether such networks can be made here. */
function possible(): boolean {
  if (Deno.uid() !== 0) return false;
  const name = ownName("zb-probe");
  try {
    if (!run(["netns", "add", name]).success) return false;
    return run(["netns", "delete", name]).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A name that no other test has, also of a file that runs in this process at the same time. */
export function ownName(prefix: string): string {
  return `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
}

function run(args: string[]): { success: boolean; text: string } {
  const { success, stdout, stderr } = new Deno.Command("ip", {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).outputSync();
  const decoder = new TextDecoder();
  return { success, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Runs iproute2's `ip`; what it prints. */
function ip(...args: string[]): string {
  const { success, text } = run(args);
  if (!success) throw new Error(`ip ${args.join(" ")}: ${text}`);
  return text;
}

/** Registers a test whose programs have a loopback of their own, with all ports free and no other network. */
export function aloneTest(name: string, missing: Missing[], run: (within: string[]) => Promise<void>): void {
  unlessMissing(name, possible() ? missing : [{ command: "ip netns", install }, ...missing], async () => {
    const namespace = ownName("zb-alone");
    ip("netns", "add", namespace);
    try {
      ip("-n", namespace, "link", "set", "lo", "up");
      await run(["ip", "netns", "exec", namespace]);
    } finally {
      ip("netns", "delete", namespace);
    }
  }, longTest);
}

/** Registers a test that needs a {@link Drive}; skipped, with a line that says so, where none can be made. */
export function driveTest(name: string, run: (drive: Drive) => Promise<void>): void {
  unlessMissing(name, possible() ? [] : [{ command: "ip netns", install }], async () => {
    using drive = new Drive();
    await run(drive);
  });
}

/** Three namespaces, server, router and vehicle, and the vehicle's place among the towers. */
export class Drive implements Disposable {
  readonly #prefix = ownName("zb");
  readonly #made: string[] = [];
  #tower: Tower | undefined;

  constructor() {
    try {
      for (const name of ["server", "router", "vehicle"] as const) {
        ip("netns", "add", this.#name(name));
        this.#made.push(this.#name(name));
        this.#in(name, "link", "set", "lo", "up");
      }
      this.#pair("server", "uplink", "router", "downlink");
      this.#in("server", "address", "add", `${serverAddress}/24`, "dev", "uplink");
      this.#in("router", "address", "add", `${uplinkAddress}/24`, "dev", "downlink");
      this.#up("server", "uplink");
      this.#up("router", "downlink");
      this.#in("server", "route", "add", "default", "via", uplinkAddress);
      for (const { name, router } of Object.values(towers)) {
        this.#pair("vehicle", name, "router", name);
        this.#in("router", "address", "add", `${router}/24`, "dev", name);
        this.#up("router", name);
      }
      this.#exec("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What a command is to be begun with to run in a namespace. */
  within(name: "server" | "vehicle"): string[] {
    return ["ip", "netns", "exec", this.#name(name)];
  }

  /** Where the vehicle is. */
  get tower(): Tower | undefined {
    return this.#tower;
  }

  /** The vehicle comes into reach of a tower: it has its address and the way out. */
  enter(tower: Tower): void {
    this.#up("vehicle", tower.name);
    this.#in("vehicle", "address", "add", `${tower.vehicle}/24`, "dev", tower.name);
    this.#in("vehicle", "route", "add", "default", "via", tower.router);
    this.#tower = tower;
  }

  /** The vehicle is out of reach: address and way out are gone. */
  leave(): void {
    if (this.#tower === undefined) return;
    this.#in("vehicle", "address", "flush", "dev", this.#tower.name);
    this.#in("vehicle", "link", "set", this.#tower.name, "down");
    this.#tower = undefined;
  }

  /** Each tower gives the vehicle so many kilobits a second, at most. */
  limit(kilobits: number): void {
    for (const { name } of Object.values(towers)) {
      const tbf = ["root", "tbf", "rate", `${kilobits}kbit`, "burst", "32k", "latency", "200ms"];
      this.#exec("router", "tc", "qdisc", "replace", "dev", name, ...tbf);
    }
  }

  /** The router drops all packets between vehicle and server, both ways, without a word; the addresses stay. */
  drop(): void {
    this.#in("router", "rule", "add", "priority", "10", "to", serverAddress, "blackhole");
    this.#in("router", "rule", "add", "priority", "11", "from", serverAddress, "blackhole");
    this.#in("router", "route", "flush", "cache");
  }

  /** The router drops what goes to or comes from a TCP port of the server. */
  dropPort(port: number): void {
    for (const end of ["dport", "sport"]) {
      this.#in("router", "rule", "add", "priority", "12", "ipproto", "tcp", end, String(port), "blackhole");
    }
    this.#in("router", "route", "flush", "cache");
  }

  /** The router lets all through again. */
  pass(): void {
    for (const priority of ["10", "11", "12", "12"]) {
      // Those that are there go; that others are not is what was wanted.
      run(["-n", this.#name("router"), "rule", "delete", "priority", priority]);
    }
    this.#in("router", "route", "flush", "cache");
  }

  /** Bytes that came to the vehicle over all towers so far, with their headers. */
  received(): number {
    return Object.values(towers).reduce((sum, { name }) => {
      const text = this.#in("vehicle", "-json", "-statistics", "link", "show", "dev", name);
      const [{ stats64 }] = JSON.parse(text) as [{ stats64: { rx: { bytes: number } } }];
      return sum + stats64.rx.bytes;
    }, 0);
  }

  /** TCP connections that one side holds as established to or from a port, e.g. `sport = :8883`. */
  established(name: "server" | "vehicle", filter: string): string[] {
    const text = this.#exec(name, "ss", "-Htn", "state", "established", filter);
    return text.split("\n").filter((line) => line.trim() !== "");
  }

  [Symbol.dispose](): void {
    for (const name of this.#made.splice(0)) ip("netns", "delete", name);
  }

  #name(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  #in(name: string, ...args: string[]): string {
    return ip("-n", this.#name(name), ...args);
  }

  #exec(name: string, ...command: string[]): string {
    return ip("netns", "exec", this.#name(name), ...command);
  }

  #up(name: string, device: string): void {
    this.#in(name, "link", "set", device, "up");
  }

  #pair(one: string, device: string, other: string, peer: string): void {
    this.#in(one, "link", "add", device, "type", "veth", "peer", "name", peer, "netns", this.#name(other));
  }
}

// Independent programs that the tests run against. A missing one is never passed over in silence: the test is
// registered as ignored and a line says how to install it.

/** A program, or a file, of somebody else's that a test needs. */
export interface Peer {
  /** What to look for: an absolute path, or a name on PATH. */
  command: string;
  /** Arguments that make it print something and exit 0, to see that it works; without them a file is looked for. */
  probe?: string[];
  /** How to install it. */
  install: string;
}

/** The peers that tests name, with how each is installed. */
export const peers = {
  scapy: {
    command: "/usr/bin/python3",
    probe: ["-c", "import scapy.contrib.automotive.doip"],
    install: "apt-get install python3-scapy",
  },
  tshark: { command: "tshark", probe: ["--version"], install: "apt-get install tshark" },
  mosquitto: { command: "mosquitto", probe: ["-h"], install: "apt-get install mosquitto" },
  mosquittoClients: {
    command: "mosquitto_pub",
    probe: ["--help"],
    install: "apt-get install mosquitto-clients",
  },
  curl: { command: "curl", probe: ["--version"], install: "apt-get install curl" },
  openssl: { command: "openssl", probe: ["version"], install: "apt-get install openssl" },
  zstd: { command: "zstd", probe: ["--version"], install: "apt-get install zstd" },
  microbit: {
    command: "/usr/share/firmware-microbit-micropython/firmware.hex",
    install: "apt-get install firmware-microbit-micropython",
  },
  socat: { command: "socat", probe: ["-V"], install: "apt-get install socat" },
  pythonCan: {
    command: "/usr/bin/python3",
    probe: ["-c", "import can, serial"],
    install: "apt-get install python3-can",
  },
  zsh: { command: "zsh", probe: ["--version"], install: "apt-get install zsh" },
  fish: { command: "fish", probe: ["--version"], install: "apt-get install fish" },
  script: { command: "script", probe: ["--version"], install: "apt-get install bsdutils" },
  git: { command: "git", probe: ["--version"], install: "apt-get install git" },
  srecord: { command: "srec_cat", probe: ["--version"], install: "apt-get install srecord" },
} satisfies Record<string, Peer>;

/** Whether the peer runs here. */
export function present(peer: Peer): boolean {
  try {
    if (peer.probe === undefined) return Deno.statSync(peer.command).isFile;
    // mosquitto prints its help and exits with 3: that it ran is what counts.
    new Deno.Command(peer.command, { args: peer.probe, stdin: "null", stdout: "null", stderr: "null" })
      .outputSync();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  if (!peer.command.endsWith("python3")) return true;
  return new Deno.Command(peer.command, { args: peer.probe, stdin: "null", stdout: "null", stderr: "null" })
    .outputSync().success;
}

/** Registers a test that needs peers; prints how to install those that are missing and skips it then. */
export function interopTest(
  name: string,
  needs: Peer[],
  run: (context: Deno.TestContext) => void | Promise<void>,
): void {
  unlessMissing(name, needs.filter((peer) => !present(peer)), run);
}

/** What a test has that builds something, or follows a whole document, ms; see limit.ts. */
export const longTest = { timeout: 900_000 } as const;

/**
 * Registers a test; skips it where something is missing, and says what.
 * @param options `timeout`: longest it may take, ms, where that is more than any test may
 */
export function unlessMissing(
  name: string,
  missing: Pick<Peer, "command" | "install">[],
  run: (context: Deno.TestContext) => void | Promise<void>,
  options: Pick<Deno.TestDefinition, "timeout"> = {},
): void {
  for (const peer of missing) {
    console.log(`SKIP ${name}: ${peer.command} is missing; install it with: ${peer.install}`);
  }
  Deno.test({ ...options, name, ignore: missing.length > 0, fn: run });
}

// A private PostgreSQL server for tests: its own data directory and a free port on 127.0.0.1, gone afterwards.
import { join } from "node:path";
import type { Peer } from "./peers.ts";
import { freePort } from "./ports.ts";

const INSTALL = "apt-get install postgresql";
/** Debian puts each version's server programs here and not on PATH. */
const VERSIONS = "/usr/lib/postgresql";
const START_LIMIT = 30_000;

/** A running server. */
export interface TestPostgres {
  /** Of an empty database, with user and password. */
  url: string;
  password: string;
  port: number;
  /** Runs SQL with psql, the peer that is not under test, and gives its unaligned output. */
  psql(sql: string): Promise<string>;
  /** Ends the server at once, as a crash would, or lets it run again on the same port. */
  crash(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Where the newest installed server's programs are; null (and a line that says how to install them) when there are none. */
export function findPostgres(): string | null {
  const versions: string[] = [];
  try {
    for (const entry of Deno.readDirSync(VERSIONS)) versions.push(entry.name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  versions.sort((a, b) => Number(b) - Number(a));
  for (const version of versions) {
    const programs = join(VERSIONS, version, "bin");
    try {
      Deno.statSync(join(programs, "initdb"));
      return programs;
    } catch (error) {
      // The client package alone has no initdb.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

/** As a peer that a test needs. */
export const postgresql: Peer = {
  command: join(findPostgres() ?? VERSIONS, "initdb"),
  probe: ["--version"],
  install: INSTALL,
};

let said = false;

/** As `findPostgres`, and says once what to install when there is none. */
export function requirePostgres(): string | null {
  const programs = findPostgres();
  if (programs === null && !said) {
    said = true;
    console.log(`SKIP tests on a PostgreSQL server: it is missing; install it with: ${INSTALL}`);
  }
  return programs;
}

export interface TestPostgresOptions {
  /** Whether a commit waits for the disk; tests do not need it, measurements do. @default false */
  durable?: boolean;
}

/** Starts a server; `stop` must be called. */
export async function startPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const { durable = false } = options;
  const programs = requirePostgres();
  if (programs === null) throw new Error(`there is no PostgreSQL here; install it with: ${INSTALL}`);
  const directory = await Deno.makeTempDir({ prefix: "zonebench-postgres-" });
  const asRoot = Deno.uid() === 0;
  const run = async (program: string, args: string[], env: Record<string, string> = {}): Promise<string> => {
    // PostgreSQL refuses to run as root.
    const line = asRoot
      ? ["runuser", "-u", "postgres", "--", join(programs, program), ...args]
      : [join(programs, program), ...args];
    const { success, stdout, stderr } = await new Deno.Command(line[0], {
      args: line.slice(1),
      env: { ...env, LC_ALL: "C" },
      cwd: directory,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`${program}: ${decoder.decode(stderr)}${decoder.decode(stdout)}`);
    return decoder.decode(stdout).trim();
  };
  const password = crypto.randomUUID();
  const passwordFile = join(directory, "password");
  await Deno.writeTextFile(passwordFile, password);
  if (asRoot) {
    const { success } = await new Deno.Command("chown", { args: ["-R", "postgres:", directory] }).output();
    if (!success) throw new Error(`chown ${directory} to postgres failed`);
  }
  const data = join(directory, "data");
  await run("initdb", [
    ...["-D", data, "-U", "zonebench", "-A", "scram-sha-256", "--pwfile", passwordFile],
    ...["-E", "UTF8", "--no-locale", "--no-sync"],
  ]);
  const port = freePort();
  const start = async () => {
    await run("pg_ctl", [
      ...["-D", data, "-w", "-t", String(START_LIMIT / 1000), "-l", join(directory, "log"), "start"],
      ...[
        "-o",
        `-h 127.0.0.1 -p ${port} -k ${directory} -c fsync=${durable ? "on" : "off"} -c max_connections=50`,
      ],
    ]);
  };
  const halt = async (mode: "fast" | "immediate") => {
    await run("pg_ctl", ["-D", data, "-w", "-m", mode, "stop"]);
  };
  let running = false;
  try {
    await start();
    running = true;
    await run("createdb", ["-h", "127.0.0.1", "-p", String(port), "-U", "zonebench", "zonebench"], {
      PGPASSWORD: password,
    });
  } catch (error) {
    if (running) await halt("immediate");
    await Deno.remove(directory, { recursive: true });
    throw error;
  }
  return {
    url: `postgresql://zonebench:${password}@127.0.0.1:${port}/zonebench`,
    password,
    port,
    psql: (sql) =>
      run(
        "psql",
        ["-h", "127.0.0.1", "-p", String(port), "-U", "zonebench", "-d", "zonebench", "-XAtc", sql],
        {
          PGPASSWORD: password,
        },
      ),
    crash: async () => {
      running = false;
      await halt("immediate");
    },
    restart: async () => {
      await start();
      running = true;
    },
    stop: async () => {
      if (running) await halt("fast");
      await Deno.remove(directory, { recursive: true });
    },
  };
}

// A mosquitto of its own for tests, with the access rules and settings that the program writes for it.

import { join } from "node:path";
import { aclFile, type AclVehicle, confFile } from "../../src/commands/mosquitto.ts";
import { issueBroker } from "../../src/pqc/authority.ts";
import { freePort } from "./ports.ts";

export interface TestMosquittoOptions {
  /** Loopback address of the test file's own. */
  hostname: string;
  /** The authority's folder. */
  pki: string;
  vehicles: readonly AclVehicle[];
}

/** A broker that runs. */
export interface TestMosquitto extends AsyncDisposable {
  readonly hostname: string;
  readonly vehiclePort: number;
  readonly serverPort: number;
  /** Ends it at once, as a crash would, or as its service does: then it saves what it holds. */
  stop(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  start(): Promise<void>;
  /** Takes away what it has saved, while it does not run. */
  forget(): Promise<void>;
  /** Everything that it wrote so far. */
  log(): Promise<string>;
}

/** Starts it. Two listeners: for vehicles, whose client ids it binds to their certificates, and for servers. */
export async function startMosquitto(options: TestMosquittoOptions): Promise<TestMosquitto> {
  const { hostname, pki, vehicles } = options;
  await issueBroker(hostname, { directory: pki });
  const directory = await Deno.makeTempDir({ prefix: "zonebench-mosquitto-" });
  const [vehiclePort, serverPort] = [freePort(hostname), freePort(hostname)];
  const acl = join(directory, "zonebench.acl");
  await Deno.writeTextFile(acl, aclFile(vehicles, ["server-client"]));
  const conf = join(directory, "mosquitto.conf");
  const logFile = join(directory, "log");
  await Deno.writeTextFile(
    conf,
    [
      // Started as root it would become another user, who cannot read the keys of the test.
      "user root",
      `log_dest file ${logFile}`,
      "log_type all",
      `persistence_location ${directory}/`,
      confFile({
        vehiclePort,
        serverPort,
        vehicleAddress: hostname,
        serverAddress: hostname,
        aclFile: acl,
        caFile: join(pki, "ca.crt"),
        certificateFile: join(pki, `broker-${hostname}.crt`),
        keyFile: join(pki, `broker-${hostname}.key`),
        maxPayload: 262_144,
      }),
    ].join("\n"),
  );
  let process: Deno.ChildProcess | undefined;
  const log = async () => {
    try {
      return await Deno.readTextFile(logFile);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  };
  const stop = async (signal: "SIGKILL" | "SIGTERM") => {
    const running = process;
    process = undefined;
    if (!running) return;
    running.kill(signal);
    await running.status;
  };
  const start = async () => {
    const child = new Deno.Command("mosquitto", {
      args: ["-c", conf],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    process = child;
    let ended = false;
    child.status.then(() => ended = true);
    for (let tries = 0;; tries++) {
      try {
        (await Deno.connect({ hostname, port: serverPort })).close();
        return;
      } catch (error) {
        if (ended || tries > 200) {
          throw new Error(`mosquitto does not start:\n${await log()}`, { cause: error });
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const forget = async () => {
    try {
      await Deno.remove(join(directory, "mosquitto.db"));
    } catch (error) {
      // It saves now and then: it may not have yet.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  };
  const end = async () => {
    await stop("SIGKILL");
    await Deno.remove(directory, { recursive: true });
  };
  try {
    await start();
  } catch (error) {
    await end();
    throw error;
  }
  return { hostname, vehiclePort, serverPort, stop, start, forget, log, [Symbol.asyncDispose]: end };
}

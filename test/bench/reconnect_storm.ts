// Five hundred vehicles whose server was killed and started again: how long until all have their session back, and what that
// costs the server in time and memory; beside mosquitto in the same run where it is installed. The vehicles are in a process
// of their own and try again as the gateway does, with full jitter.

import { join } from "node:path";
import { peers, present } from "../support/peers.ts";
import { Program, temporaryFolder } from "../support/program.ts";
import { fleetOf, issueFleet, registerFleet, startMosquitto } from "./fleet.ts";
import type { BenchRow } from "./row.ts";
import type { StormVehicles } from "./reconnect_vehicles.ts";

const count = 500;

/** What a broker cost: seconds of processor time so far, and MiB of memory. */
async function costOf(pid: number): Promise<{ seconds: number; memory: number }> {
  // Behind the name, which is in parentheses: state, then fields 4 …; utime and stime are 14 and 15 (proc(5)), in 1/100 s.
  const fields = (await Deno.readTextFile(`/proc/${pid}/stat`)).replace(/^.*\) /, "").split(" ");
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? NaN);
  return { seconds: (Number(fields[11]) + Number(fields[12])) / 100, memory: resident / 1024 };
}

/** Connects all, restarts the broker, and waits until all are back. @param restart gives the broker's new process */
async function storm(vehicles: StormVehicles, restart: () => Promise<number>): Promise<string> {
  const script = new URL("./reconnect_vehicles.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", script, JSON.stringify(vehicles)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const told = async (times: number) => {
    while (text.split("all\n").length <= times) {
      const { value, done } = await lines.read();
      if (done) throw new Error("the vehicles have ended");
      text += value;
    }
  };
  try {
    await told(1);
    const pid = await restart();
    const began = performance.now();
    const before = await costOf(pid);
    await told(2);
    const seconds = (performance.now() - began) / 1000;
    const after = await costOf(pid);
    return `${seconds.toFixed(1)} s, ${(after.seconds - before.seconds).toFixed(1)} s of processor time, ${
      after.memory.toFixed(0)
    } MiB`;
  } finally {
    child.kill("SIGKILL");
    await lines.cancel();
    await child.status;
  }
}

export async function run(): Promise<BenchRow[]> {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const pki = join(data, "pki");
  const settings = ["server.tls.profiles=[2, 0]"];
  const program = new Program({ data, network: "127.0.40.48/28", settings });
  const fleet = fleetOf(count);
  let server = await program.serve(["--only", "server"]);
  try {
    await issueFleet(pki, fleet);
    await registerFleet(`https://127.0.0.1:${program.httpsPort}`, pki, fleet);
    const common = { pki, vehicles: fleet, profile: 0 };
    const value = await storm({ ...common, hostname: "127.0.0.1", port: program.mqttPort }, async () => {
      server.kill("SIGKILL");
      await server.ended;
      server = await program.serve(["--only", "server"]);
      return server.process.pid;
    });
    const what = `${count} vehicles back after a restart, X25519`;
    if (!present(peers.mosquitto)) return [{ what, value }];
    await using mosquitto = await startMosquitto(folder.path, pki, "127.0.40.49");
    const beside = await storm(
      { ...common, hostname: mosquitto.hostname, port: mosquitto.port },
      async () => {
        await mosquitto.restart();
        return mosquitto.pid;
      },
    );
    return [{ what, value, beside: `mosquitto, which keeps nothing: ${beside}` }];
  } finally {
    server.kill("SIGKILL");
    await server.ended;
  }
}

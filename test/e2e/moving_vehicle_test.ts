// A vehicle that drives past three towers, in network namespaces of the test's own: real interfaces, addresses that go and
// come, packets that are dropped. Needs root and iproute2.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../src/contract/routes.ts";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { type Drive, driveTest, serverAddress, type Tower, towers } from "../support/namespaces.ts";
import { RemoteOperator } from "../support/operator.ts";
import { eventually, Program, type Serving, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

/** Everything that runs, each in its place. */
interface Running {
  program: Program;
  folder: string;
  server: Serving;
  vmg: Serving;
  operator: RemoteOperator;
  /** Ends the server as a crash does and starts it again. */
  restartServer(): Promise<void>;
}

/** Server behind the router, vehicle at tower A, both up and known to each other. */
async function running(
  drive: Drive,
  settings: string[],
  test: (parts: Running) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const data = join(folder.path, "data");
  const program = new Program({
    data,
    network: "127.0.40.0/24",
    timing: "realistic",
    within: drive.within("server"),
    settings: [
      "server.https.hostname=0.0.0.0",
      "server.mqtt.hostname=0.0.0.0",
      `server.names=["${serverAddress}"]`,
      "vmg.telemetry_interval=1",
      "vmg.reconnect_max=5",
      ...settings,
    ],
  });
  const { httpsPort, mqttPort } = program;
  const vehicle = [
    ...["--set", `vmg.https_url=https://${serverAddress}:${httpsPort}`],
    ...["--set", `vmg.mqtt_url=mqtts://${serverAddress}:${mqttPort}`],
  ];
  drive.enter(towers.a);
  let server = await program.serve(["--only", "server"]);
  try {
    const inVehicle = drive.within("vehicle");
    await using _bench = await program.serve(["--only", "bench"], "Bench running", inVehicle);
    await using vmg = await program.serve(["--only", "vmg", ...vehicle], "[MQTT] Connected", inVehicle);
    const origin = `https://127.0.0.1:${httpsPort}`;
    await using operator = new RemoteOperator(drive.within("server"), origin, join(data, "pki"));
    await vmg.logged("VCI sent");
    const parts: Running = {
      program,
      folder: folder.path,
      get server() {
        return server;
      },
      vmg,
      operator,
      restartServer: async () => {
        server.kill("SIGKILL");
        await server.ended;
        server = await program.serve(["--only", "server"]);
      },
    };
    try {
      await test(parts);
    } catch (cause) {
      throw new Error(`${vmg.log}\n----- server -----\n${server.log}`, { cause });
    }
  } finally {
    server.kill("SIGKILL");
    await server.ended;
  }
}

function vehicleOf({ operator }: Running) {
  return operator.call(routes.getVehicle, { path: { vin } });
}

/** Asks an ECU for its VIN, through the server; gives the request's id at once. */
async function ask({ operator }: Running, ecu: string): Promise<string> {
  const body = { vin, ecu_id: ecu, service_id: "0x22", data: "F190" };
  return (await operator.call(routes.sendDiagnostic, { body })).request_id;
}

/** The requests that the gateway has taken, in order, with those that it was given again. */
function requestsTaken({ vmg }: Running): { ids: string[]; again: string[] } {
  const lines = [...vmg.log.matchAll(/Received diagnostic request (\S+) for .*$/gm)];
  const again = lines.filter(([line]) => line.includes("it was taken before"));
  return {
    ids: lines.filter((line) => !again.includes(line)).map(([, id]) => id),
    again: again.map(([, id]) => id),
  };
}

async function answered({ operator }: Running, ids: string[]): Promise<void> {
  for (const request_id of ids) {
    await eventually(`an answer to ${request_id}`, async () => {
      const { status } = await operator.call(routes.getDiagnostic, { path: { request_id } });
      return status === "completed" ? true : undefined;
    });
  }
}

/** Leaves the tower, waits, enters the next one, and waits until the session is back; milliseconds from the link to that. */
async function move(drive: Drive, { vmg }: Running, to: Tower, away: number): Promise<number> {
  drive.leave();
  await new Promise((resolve) => setTimeout(resolve, away));
  const from = vmg.log.length;
  drive.enter(to);
  const began = performance.now();
  await vmg.logged("[MQTT] Connected", from);
  return performance.now() - began;
}

driveTest(
  "an update goes on past three towers: in mid-download, in mid-flash, with what was asked meanwhile",
  async (drive) => {
    await running(drive, ["vmg.keepalive=2"], async (parts) => {
      const { program, operator, vmg } = parts;
      // Slow enough that the vehicle moves on in the middle.
      drive.limit(6_000);
      const size = 1_200_000;
      const images = ["BODY_CONTROLLER", "DOOR_MODULE", "LIGHT_CONTROLLER"];
      for (const [index, type] of images.entries()) {
        const file = join(parts.folder, `${type}.hex`);
        await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(size, 40 + index) }]));
        const version = ["--hardware", "1.0", "--version", "1.1.0"];
        await program.json(["firmware", "add", file, "--ecu-type", type, ...version]);
      }
      const received = drive.received();
      const { update_id, package_id } = await operator.call(routes.startUpdate, { body: { vin } });
      assert.ok(package_id);
      const path = join(parts.folder, "data", "vmg", vin, "packages", `${package_id}.otap.part`);
      await eventually("a part of the package", async () => {
        try {
          return (await Deno.stat(path)).size > 300_000 ? true : undefined;
        } catch (error) {
          if (error instanceof Deno.errors.NotFound) return undefined;
          throw error;
        }
      });

      // In mid-download. The vehicle is away for longer than one and a half keep-alives: the server notices.
      const seen = parts.server.log.length;
      drive.leave();
      await parts.server.logged(`vehicle-${vin} disconnected`, seen);
      await eventually(
        "it is offline",
        async () => (await vehicleOf(parts)).status === "offline" || undefined,
      );
      const asked = [];
      for (const ecu of ["ECU_001", "ECU_002", "ECU_003", "ECU_004", "ECU_008"]) {
        asked.push(await ask(parts, ecu));
      }
      await move(drive, parts, towers.b, 0);
      await eventually("it is online", async () => (await vehicleOf(parts)).status === "online" || undefined);
      assert.ok(vmg.log.includes("Local IP changed: 10.1.1.100 → "));
      assert.ok(vmg.log.includes("IP changed while connected. Reconnecting..."));
      assert.ok(vmg.log.includes("Local IP changed: 10.1.1.100 → 10.2.5.200"));
      assert.ok(vmg.log.includes("session restored"));
      await answered(parts, asked);
      const taken = requestsTaken(parts);
      assert.deepEqual(taken.ids, asked, "each once, in the order in which they were sent");

      await eventually("the update installs", async () => {
        const { status } = await operator.call(routes.getUpdate, { path: { id: update_id } });
        return status === "installing" ? true : undefined;
      }, 60_000);
      const packageSize = (await Deno.stat(path.replace(/\.part$/, ""))).size;
      const got = drive.received() - received;
      // Headers of TCP and TLS are some 5 %; the rest of the talk and what was in flight at the move go into the constant.
      assert.ok(
        got < packageSize * 1.06 + 400_000,
        `${got} bytes came to the vehicle for a package of ${packageSize}`,
      );
      // It may have been tried in vain meanwhile, but it stopped at one place alone.
      const stops = [...vmg.log.matchAll(/Download interrupted at (\d+) bytes/g)].map(([, at]) => at);
      assert.equal(new Set(stops).size, 1);

      // In mid-flash.
      await move(drive, parts, towers.c, 500);
      const watch = await program.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
      assert.equal(watch.code, 0, `${watch.stderr}\n${vmg.log}`);
      const { status, ecus } = await operator.call(routes.getUpdate, { path: { id: update_id } });
      assert.equal(status, "completed");
      assert.deepEqual(new Set(ecus.map((ecu) => ecu.status)), new Set(["completed"]));
      assert.ok(vmg.log.includes("Local IP changed: 10.2.5.200 → 10.3.9.150"));

      const vehicle = await eventually("the new address", async () => {
        const detail = await vehicleOf(parts);
        return detail.current_ip === "10.3.9.150" ? detail : undefined;
      });
      assert.equal(vehicle.status, "online");
      assert.deepEqual(
        vehicle.addresses.map(({ ip }) => ip).sort(),
        ["10.1.1.100", "10.2.5.200", "10.3.9.150"],
      );
    });
  },
);

driveTest("from the link to the session, ten times; the time is printed", async (drive) => {
  await running(drive, [], async (parts) => {
    const cycle = [towers.b, towers.c, towers.a];
    const times = [];
    for (let turn = 0; turn < 10; turn++) {
      times.push(await move(drive, parts, cycle[turn % cycle.length], 300 + 170 * turn));
    }
    times.sort((a, b) => a - b);
    const shown = times.map((time) => Math.round(time)).join(", ");
    console.log(`link back to session back: median ${Math.round((times[4] + times[5]) / 2)} ms of ${shown}`);
    const request = await ask(parts, "ECU_003");
    await answered(parts, [request]);
  });
});

driveTest(
  "packets that are dropped without a word are noticed on both sides, and nothing is lost",
  async (drive) => {
    await running(drive, ["vmg.keepalive=2", "vmg.fallback_after=600"], async (parts) => {
      const { vmg, program, operator } = parts;
      const from = vmg.log.length;
      const seen = parts.server.log.length;
      drive.drop();
      await vmg.logged("Connection lost", from);
      await parts.server.logged(`vehicle-${vin} disconnected`, seen);
      await eventually(
        "no half-open connection is left at the server",
        () => drive.established("server", `sport = :${program.mqttPort}`).length === 0 || undefined,
      );
      assert.ok(!vmg.log.slice(from).includes("Local IP changed"), "the address is what it was");
      const asked = [await ask(parts, "ECU_001"), await ask(parts, "ECU_002")];
      drive.pass();
      await vmg.logged("session restored", from);
      await answered(parts, asked);
      assert.deepEqual(requestsTaken(parts).ids, asked);
      const { telemetry } = await operator.call(routes.listTelemetry, { path: { vin } });
      const times = telemetry.map(({ timestamp }) => timestamp);
      assert.equal(new Set(times).size, times.length, "each measurement once");
    });
  },
);

driveTest(
  "what waits while the vehicle is away comes without being asked for, also after the server was killed meanwhile",
  async (drive) => {
    await running(drive, ["vmg.keepalive=2", "vmg.fallback_after=600"], async (parts) => {
      const { vmg } = parts;
      drive.leave();
      const before = await ask(parts, "ECU_001");
      await parts.restartServer();
      await using operator = new RemoteOperator(
        drive.within("server"),
        `https://127.0.0.1:${parts.program.httpsPort}`,
        join(parts.folder, "data", "pki"),
      );
      const again = { ...parts, operator };
      const after = await ask(again, "ECU_002");
      const from = vmg.log.length;
      drive.enter(towers.b);
      await vmg.logged("session restored", from);
      await answered(again, [before, after]);
      assert.deepEqual(requestsTaken(parts).ids, [before, after]);
      assert.ok(!vmg.log.slice(from).includes("came by polling"));
    });
  },
);

driveTest(
  "MQTT blocked and HTTPS open: commands and telemetry go the other way; back again, nothing goes twice",
  async (drive) => {
    const settings = ["vmg.keepalive=2", "vmg.fallback_after=3", "vmg.poll_interval=2", "vmg.hold_time=1"];
    await running(drive, settings, async (parts) => {
      const { vmg, program, operator } = parts;
      const from = vmg.log.length;
      drive.dropPort(program.mqttPort);
      await vmg.logged("Switching to HTTPS fallback", from);
      const asked = await ask(parts, "ECU_001");
      await answered(parts, [asked]);
      assert.ok(vmg.log.slice(from).includes("came by polling"));
      const newest = async () =>
        (await operator.call(routes.listTelemetry, { path: { vin } })).telemetry.length;
      const count = await newest();
      await eventually("telemetry over HTTPS", async () => await newest() > count + 2 || undefined);
      drive.pass();
      await vmg.logged("Switching back to MQTT", from);
      const last = await ask(parts, "ECU_002");
      await answered(parts, [last]);
      assert.deepEqual(requestsTaken(parts).ids, [asked, last]);
      const { telemetry } = await operator.call(routes.listTelemetry, { path: { vin } });
      const times = telemetry.map(({ timestamp }) => timestamp);
      assert.equal(new Set(times).size, times.length, "each measurement once");
    });
  },
);

driveTest(
  "both ways blocked for longer than the queue holds: telemetry goes, the end of an update stays, and the log says so",
  async (drive) => {
    const settings = [
      "vmg.keepalive=2",
      "vmg.telemetry_interval=1",
      "vmg.queue.max_count=6",
      "vmg.heartbeat_interval=2",
      "vmg.fallback_after=2",
    ];
    await running(drive, settings, async (parts) => {
      const { vmg, program, operator } = parts;
      const file = join(parts.folder, "body.hex");
      await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(3_000_000, 3) }]));
      const version = ["--hardware", "1.0", "--version", "1.1.0"];
      await program.json(["firmware", "add", file, "--ecu-type", "BODY_CONTROLLER", ...version]);
      const { update_id } = await operator.call(routes.startUpdate, { body: { vin } });
      const from = vmg.log.length;
      await vmg.logged(`Update ${update_id}: installing`);
      drive.drop();
      await vmg.logged(`Update ${update_id} completed`);
      await vmg.logged("There is no room in the queue: messages given up (telemetry: ", from);
      drive.pass();
      const update = await eventually("the end is known", async () => {
        const found = await operator.call(routes.getUpdate, { path: { id: update_id } });
        return found.status === "completed" ? found : undefined;
      });
      assert.equal(update.progress, 100);
      assert.ok(!/messages given up \(.*final/.test(vmg.log));
    });
  },
);

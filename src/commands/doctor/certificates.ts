// Checks of the authority's folder: dates, names, keys and their modes, and that each certificate comes from the authority.

import { join } from "node:path";
import { serverCredentialsName } from "../../pqc/authority.ts";
import { CredentialsMissing } from "../../pqc/errors.ts";
import { type CertificateSummary, loadCredentials, showCertificates } from "../../pqc/pki_directory.ts";
import { clientProfile, serverProfiles } from "../tls.ts";
import type { Check, Context, Finding } from "./check.ts";

/** `serve` issues what ends sooner anew, if the authority's key is there. */
const soonDays = 30;

export const certificates: Check = {
  name: "certificates",
  run: async (context) => {
    const { folders: { pki }, now } = context;
    let all: CertificateSummary[];
    try {
      all = await showCertificates(pki, now);
    } catch (error) {
      if (error instanceof CredentialsMissing) {
        return [{
          verdict: "skipped",
          subject: pki,
          found: "is not there yet: the first serve makes an authority",
        }];
      }
      return [{
        verdict: "broken",
        subject: pki,
        found: error instanceof Error ? error.message : String(error),
        advice: "remove the file that is named, or restore it; serve issues anew what is missing",
      }];
    }
    const authorities = new Set(all.filter(({ file }) => file === "ca.crt").map(({ subject }) => subject));
    const findings = await Promise.all(all.map((it) => certificateOf(it, authorities, context)));
    return [...findings.flat(), ...missing(all, context), ...await modes(pki)];
  },
};

async function certificateOf(
  it: CertificateSummary,
  authorities: ReadonlySet<string>,
  { folders: { pki }, now }: Context,
): Promise<Finding[]> {
  const name = it.file.replace(/\.crt$/, "");
  const subject = it.file;
  const until = `until ${it.notAfter.toISOString().slice(0, 10)}, ${it.daysLeft} days`;
  const again = renewal(name);
  const broken = (
    found: string,
    advice = again,
  ): Finding[] => [{ verdict: "broken", subject, found, advice }];
  if (it.notBefore.getTime() > now.getTime()) {
    return broken(`is good from ${it.notBefore.toISOString()} only`, "set the clock, or issue it anew");
  }
  if (it.notAfter.getTime() <= now.getTime()) return broken(`ended at ${it.notAfter.toISOString()}`);
  if (name !== "ca" && !authorities.has(it.issuer)) {
    return broken(`was issued by ${it.issuer}, which is not in ca.crt`);
  }
  const expected = commonNameOf(name);
  if (expected !== undefined && !` ${it.subject},`.includes(` CN=${expected},`)) {
    return broken(`is of ${it.subject}, expected CN=${expected}`);
  }
  if (name.startsWith("operator-") && !` ${it.subject},`.includes(" OU=operator,")) {
    return broken(`is of ${it.subject}, expected OU=operator`);
  }
  if (it.hasKey && name !== "ca") {
    try {
      await loadCredentials(pki, name);
    } catch (error) {
      return broken(error instanceof Error ? error.message : String(error));
    }
  }
  if (it.daysLeft < soonDays) return [{ verdict: "warning", subject, found: `good ${until}`, advice: again }];
  return [{ verdict: "ok", subject, found: `${it.algorithm}, good ${until}` }];
}

/** The common name that the server looks for; undefined where any will do. */
function commonNameOf(name: string): string | undefined {
  return /^vehicle-[A-HJ-NPR-Z0-9]{17}$/.test(name) ? name : undefined;
}

function renewal(name: string): string {
  if (name === "ca") {
    return "a new authority means new certificates for all: move the pki folder away, start serve, hand out the new ones";
  }
  const [kind, ...rest] = name.split("-");
  const holder = kind === "vehicle" || kind === "operator" ? `${kind} ${rest.join("-")}` : undefined;
  return holder === undefined
    ? "serve issues it anew at its next start, where the authority's key is"
    : `zonebench pki issue ${holder} --force, where the authority's key is`;
}

/** Certificates that the settings ask for and that are not there. */
function missing(all: readonly CertificateSummary[], { config }: Context): Finding[] {
  const there = new Set(all.map(({ file }) => file.replace(/\.crt$/, "")));
  const wanted = [
    ...serverProfiles(config).map(({ certificateAlgorithm }) => serverCredentialsName(certificateAlgorithm)),
    ...config.bench.vehicles.map(({ vin }) => `vehicle-${vin}`),
  ];
  const { certificateAlgorithm } = clientProfile(config);
  const findings: Finding[] = [...new Set(wanted)].filter((name) => !there.has(name)).map((name) => ({
    verdict: "warning",
    subject: `${name}.crt`,
    found: "is not there",
    advice: "serve issues it at its next start, where the authority's key is; elsewhere copy it from there",
  }));
  for (const { file, algorithm } of all) {
    if (!/^(?:vehicle|operator)-/.test(file) || algorithm === certificateAlgorithm) continue;
    findings.push({
      verdict: "warning",
      subject: file,
      found: `is of ${algorithm}, the vehicles' profile wants ${certificateAlgorithm}`,
      advice:
        "serve issues what it needs anew at its next start; zonebench pki issue … --profile N does the others",
    });
  }
  return findings;
}

/** Private keys are for their owner alone. */
async function modes(pki: string): Promise<Finding[]> {
  if (Deno.build.os === "windows") return [];
  const open: string[] = [];
  for await (const { name, isFile } of Deno.readDir(pki)) {
    if (!isFile || !name.endsWith(".key")) continue;
    const { mode } = await Deno.stat(join(pki, name));
    if (mode !== null && (mode & 0o077) !== 0) open.push(join(pki, name));
  }
  if (open.length === 0) return [];
  return [{
    verdict: "broken",
    subject: "private keys",
    found: `others may read ${open.join(", ")}`,
    advice: `chmod 600 ${open.join(" ")}; issue anew what may have been read`,
  }];
}

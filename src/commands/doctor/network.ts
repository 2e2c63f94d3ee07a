// Checks of the addresses that a server and a simulated bench listen on.

import type { Config } from "../../config/schema.ts";
import { placeGateways } from "../bench_description.ts";
import { bracketed } from "../common.ts";
import type { Check, Context, Finding, Health } from "./check.ts";

/** Longest wait for the local listener, ms. Where none is, that is known at once; a busy one is not to be taken for another program. */
const healthLimit = 10_000;

/** What the server of this configuration says, if one runs. */
export async function healthOf({ server }: Config): Promise<Health | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${server.local.port}/healthz`, {
      signal: AbortSignal.timeout(healthLimit),
    });
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null || !("listeners" in body)) return undefined;
    const text = (name: string) => String(Reflect.get(body, name));
    return { status: text("status"), database: text("database") };
  } catch {
    // Nothing listens there, or something else: then the port's own check says so.
    return undefined;
  }
}

export const ports: Check = {
  name: "ports",
  run: (context) => {
    const { server, mqtt } = context.config;
    const listeners = [
      { setting: "server.https", ...server.https },
      ...mqtt.mode === "embedded" ? [{ setting: "server.mqtt", ...server.mqtt }] : [],
      { setting: "server.local", hostname: "127.0.0.1", port: server.local.port },
    ];
    return Promise.resolve(listeners.map((it) => portOf(it, context)));
  },
};

function portOf(
  { setting, hostname, port }: { setting: string; hostname: string; port: number },
  { health }: Context,
): Finding {
  const subject = `${setting} ${bracketed(hostname)}:${port}`;
  try {
    Deno.listen({ hostname, port }).close();
    if (health === undefined) return { verdict: "ok", subject, found: "free" };
    return {
      verdict: "broken",
      subject,
      found: "free, though a server runs",
      advice: `the server that runs has other settings, or has lost its listener: see its log`,
    };
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      if (health !== undefined) return { verdict: "ok", subject, found: "held by the running server" };
      return {
        verdict: "broken",
        subject,
        found: "held by another program",
        advice: `stop it (ss -ltnp sport = :${port} names it), or --set ${setting}.port=N`,
      };
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return {
        verdict: "broken",
        subject,
        found: "this user may not listen there",
        advice: `choose a port above 1023: --set ${setting}.port=N`,
      };
    }
    if (error instanceof Deno.errors.AddrNotAvailable) {
      return {
        verdict: "broken",
        subject,
        found: "is no address of this machine",
        advice: `--set ${setting}.hostname=0.0.0.0, or an address that ip addr shows`,
      };
    }
    throw error;
  }
}

/** Addresses of simulated gateways, as long as no server has them. */
export const benchAddresses: Check = {
  name: "bench",
  run: ({ config: { bench }, health }) => {
    if (!bench.simulated || health !== undefined) return Promise.resolve([]);
    const taken: Finding[] = [];
    const gateways = placeGateways(bench);
    for (const { zonalGatewayId, hostname, port } of gateways) {
      if (hostname === undefined) continue;
      try {
        Deno.listen({ hostname, port }).close();
      } catch (error) {
        taken.push({
          verdict: "broken",
          subject: `${zonalGatewayId} ${bracketed(hostname)}:${port}`,
          found: error instanceof Deno.errors.AddrInUse
            ? "held by another program, maybe another bench"
            : `cannot be listened on: ${error instanceof Error ? error.message : error}`,
          advice: "--set bench.network=127.0.N.0/24 takes other addresses",
        });
      }
    }
    const found = `${gateways.length} addresses in ${bench.network} are free`;
    return Promise.resolve(
      taken.length > 0 ? taken : [{ verdict: "ok", subject: "simulated gateways", found }],
    );
  },
};

// Checks of what is plugged in: serial ports and who may open them, adapters and gateways of the bench.

import { discover } from "../../../hardware/doip/discover.ts";
import { MissingToolError } from "../../../hardware/serial/errors.ts";
import { portAccess } from "../../../hardware/serial/port_access.ts";
import { listPorts } from "../../../hardware/serial/ports.ts";
import { askAdapters } from "../bench_adapters.ts";
import { placeGateways } from "../bench_description.ts";
import { placeAdapters } from "../can_description.ts";
import { targetsOf } from "../discover.ts";
import type { Check, Finding } from "./check.ts";

export const serialPorts: Check = {
  name: "serial",
  limit: 20_000,
  run: async () => {
    try {
      const ports = await listPorts();
      if (ports.length === 0) {
        return [{ verdict: "skipped", subject: "serial ports", found: "there are none" }];
      }
      return await Promise.all(ports.map(async ({ path, product, driver }): Promise<Finding> => {
        const what = product ?? driver ?? "a serial port";
        const access = await portAccess(path);
        if (access === undefined) {
          return { verdict: "warning", subject: path, found: `${what}: who may open it cannot be told` };
        }
        if (access.allowed) return { verdict: "ok", subject: path, found: `${what}, may be opened` };
        return {
          verdict: "warning",
          subject: path,
          found: `${what}: ${access.mode} ${access.owner} ${access.group}: this user may not open it`,
          advice: `sudo usermod -aG ${access.group} $USER, then log in anew`,
        };
      }));
    } catch (error) {
      if (!(error instanceof MissingToolError)) throw error;
      return [{
        verdict: "warning",
        subject: "serial ports",
        found: "cannot be listed without socat",
        advice: "apt-get install socat",
      }];
    }
  },
};

export const adapters: Check = {
  name: "adapters",
  limit: 20_000,
  run: async ({ config: { bench }, health }, signal) => {
    const placed = placeAdapters(bench);
    if (placed.length === 0) return [];
    if (bench.simulated && health === undefined) {
      return [{
        verdict: "skipped",
        subject: "adapters",
        found: `${placed.length} simulated: they run with serve`,
      }];
    }
    const states = await askAdapters(bench, signal);
    return states.map(({ adapter_id, port, state, error, version, ecus = [] }): Finding => {
      const subject = `${adapter_id} ${port}`;
      // The gateway that runs has it: its own log says how it fares.
      if (state === "failed" && health !== undefined && /in use|busy/i.test(error ?? "")) {
        return { verdict: "ok", subject, found: "in use, as it should be while serve runs" };
      }
      if (state === "failed") {
        return {
          verdict: "broken",
          subject,
          found: error ?? "cannot be opened",
          advice: "zonebench adapters shows which ports there are; the bench file names this one",
        };
      }
      const silent = ecus.filter(({ answers }) => !answers).map(({ ecu_id }) => ecu_id);
      if (silent.length > 0) {
        return {
          verdict: "warning",
          subject,
          found: `open, version ${version ?? "unknown"}; no answer from ${silent.join(", ")}`,
          advice: "check the ECUs' power, the bit rate and the termination (docs/hardware.md)",
        };
      }
      return {
        verdict: "ok",
        subject,
        found: `open, version ${version ?? "unknown"}, ${ecus.length} ECUs answer`,
      };
    });
  },
};

/** Time that gateways have to answer, ms: A_DoIP_Ctrl of ISO 13400-2. */
const answerTime = 2000;

export const gatewaysInReach: Check = {
  name: "gateways in reach",
  run: async ({ config: { bench }, health }, signal) => {
    const placed = placeGateways(bench);
    if (bench.simulated && health === undefined) {
      return [{
        verdict: "skipped",
        subject: "gateways",
        found: `${placed.length} simulated: they run with serve`,
      }];
    }
    const found = await discover({
      targets: targetsOf(bench),
      timeout: answerTime,
      enough: placed.length,
      localAddress: bench.discovery.address,
      signal,
    });
    return placed.map(({ zonalGatewayId, logicalAddress, vehicle, hostname }): Finding => {
      const subject = hostname === undefined ? zonalGatewayId : `${zonalGatewayId} ${hostname}`;
      const it = found.find((entity) =>
        entity.logicalAddress === logicalAddress && entity.vin === vehicle.vin
      );
      if (it !== undefined) return { verdict: "ok", subject, found: `answers at ${it.address}:${it.port}` };
      return {
        verdict: "warning",
        subject,
        found: "does not answer",
        advice:
          "check its power and cable, and this machine's address in its network; zonebench discover --target ADDRESS asks there",
      };
    });
  },
};

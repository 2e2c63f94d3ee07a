// Routes about vehicles: registration, reports, signs of life, commands that wait, messages, metadata, configuration.

import { z } from "zod";
import { type fromVehicle, parseTopic } from "../../contract/mqtt.ts";
import { routes } from "../../contract/routes.ts";
import type { Logger } from "../../log.ts";
import { type Inbox, isFromVehicle } from "../inbox.ts";
import { acknowledge } from "../acknowledge.ts";
import type { UpdateService } from "../ota/updates.ts";
import type { Outbox } from "../outbox.ts";
import { jsonObject, type Registry } from "../registry.ts";
import type { Store, Vehicle } from "../store/mod.ts";
import { UptaneError } from "../../uptane/errors.ts";
import { ManifestRequired, type Verdict, type VersionReports } from "../uptane/version_reports.ts";
import type { TlsConnection } from "../../tls/types.ts";
import type { IncomingMessage } from "node:http";
import { type Mount, otherVehicle } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface VehicleRouteOptions {
  store: Store;
  registry: Registry;
  updates: UpdateService;
  outbox: Outbox;
  inbox: Inbox;
  reports: VersionReports;
  log: Logger;
  connectionOf(incoming: IncomingMessage): TlsConnection | undefined;
  /** Whether vehicles publish to a broker that is not this server. */
  externalBroker: boolean;
  /** How long a configuration waits for its vehicle, in milliseconds. */
  configLifetime: number;
}

export function mountVehicles(mount: Mount, options: VehicleRouteOptions): void {
  const { store, registry, updates, outbox, inbox, reports, log } = options;

  mount(routes.registerVehicle, async ({ body, caller, incoming }) => {
    if (caller.kind !== "vehicle" || body.vin !== caller.vin) throw otherVehicle(caller, body.vin);
    const { vehicle, created } = await registry.register(body);
    const connection = options.connectionOf(incoming);
    if (connection) await registry.linked(vehicle.vin, "https", connection);
    return {
      status: created ? "registered" as const : "already_registered" as const,
      vehicle_id: vehicle.vin,
      message: created
        ? `${vehicle.vmgId} is registered`
        : `the registration of ${vehicle.vmgId} is up to date`,
      ...(options.externalBroker ? { acknowledged_by: "server" as const } : {}),
    };
  });

  mount(routes.listVehicles, ({ query }) => registry.list(query));

  mount(
    routes.getVehicle,
    async ({ vehicle }) => await registry.detail(vehicle, await updates.targets.outdatedNow(vehicle.vin)),
  );

  mount(routes.submitVci, async ({ body, vehicle, caller }) => {
    if (body.vin !== vehicle.vin) throw otherVehicle(caller, body.vin);
    if (body.device_id !== vehicle.vmgId) {
      throw new HttpProblem(
        403,
        `device_id: expected ${vehicle.vmgId}, the registered gateway, got ${body.device_id}`,
        {
          code: "device_mismatch",
        },
      );
    }
    log.info(`Analyzing VCI for ${vehicle.vmgId}`);
    const verdict = await refusing(() => reports.take(body));
    if (!verdict.verified) log.debug(`Report of ${vehicle.vmgId} not verified: ${verdict.reason}`);
    await outbox.shown(vehicle.vin, { report: true });
    const outdated = await updates.targets.outdated(vehicle.vin, body);
    log.info(`Found ${outdated.length} outdated ECU${outdated.length === 1 ? "" : "s"}`);
    return {
      status: "stored" as const,
      outdated_ecus: outdated,
      update_available: outdated.length > 0,
      verified: verdict.verified,
    };
  });

  mount(routes.heartbeat, async ({ body, vehicle, caller }) => {
    if (body.vin !== undefined && body.vin !== vehicle.vin) throw otherVehicle(caller, body.vin);
    await registry.heartbeat(vehicle.vin, body);
    return { status: "accepted" as const };
  });

  mount(routes.pendingMessages, async ({ vehicle, query }) => {
    const pending = await outbox.pending(vehicle.vin, query.limit);
    await outbox.delivered(pending.map(({ messageId }) => messageId), "polling");
    return {
      messages: pending.map(({ messageId, topic, payload, created, expires }) => ({
        message_id: messageId,
        topic,
        payload: z.json().parse(payload),
        created: created.toISOString(),
        expires: expires.toISOString(),
      })),
    };
  });

  mount(routes.acknowledgeMessage, async ({ vehicle, path }) => {
    const outcome = await acknowledge({ outbox, updates }, vehicle.vin, path.message_id);
    if (outcome === "unknown") {
      throw new HttpProblem(404, `there is no message ${path.message_id} for ${vehicle.vin}`, {
        code: "not_found",
      });
    }
    return { status: outcome };
  });

  mount(routes.sendMessages, async ({ vehicle, body }) => {
    const accepted: string[] = [];
    const rejected: { message_id: string; reason: string }[] = [];
    const take = async (message: (typeof body.messages)[number]) => {
      const { message_id, topic, payload } = message;
      const channel = ownChannel(topic, vehicle);
      if (channel === undefined) {
        rejected.push({ message_id, reason: `topic: ${vehicle.vin} does not publish on ${topic}` });
        return;
      }
      const outcome = await inbox.take({
        vin: vehicle.vin,
        name: vehicle.vmgId,
        channel,
        topic,
        transport: "https",
        messageId: message_id,
      }, payload);
      if (outcome.result === "rejected") rejected.push({ message_id, reason: outcome.reason });
      else accepted.push(message_id);
    };
    // In order; telemetry that follows telemetry shares its batch.
    for (let at = 0; at < body.messages.length;) {
      const run = [body.messages[at++]];
      const isTelemetry = (message: { topic: string }) => parseTopic(message.topic)?.channel === "telemetry";
      if (isTelemetry(run[0])) {
        while (at < body.messages.length && isTelemetry(body.messages[at])) run.push(body.messages[at++]);
      }
      await Promise.all(run.map(take));
    }
    return { accepted, rejected };
  });

  mount(routes.putMetadata, async ({ vehicle, body }) => {
    await store.vehicles.setMetadata(vehicle.vin, body);
    return { status: "accepted" as const };
  });

  mount(
    routes.getConfig,
    ({ vehicle }) => Promise.resolve({ version: vehicle.configVersion, config: jsonObject(vehicle.config) }),
  );

  mount(routes.putConfig, async ({ vehicle, body }) => {
    const version = await store.transaction(async (tx) => {
      const set = await tx.vehicles.setConfig(vehicle.vin, body);
      if (set === vehicle.configVersion) return set;
      await outbox.enter({
        vehicle,
        channel: "config",
        command: "CONFIG",
        payload: { message_id: outbox.newId(), version: set, config: body },
        lifetime: options.configLifetime,
      }, tx);
      return set;
    });
    log.info(`Configuration ${version} of ${vehicle.vmgId} set`);
    outbox.flush(vehicle.vin);
    return { version, config: body };
  });

  mount(routes.listTelemetry, async ({ vehicle, query }) => {
    const { limit, offset, since, until } = query;
    const rows = await store.telemetry.list({
      vin: vehicle.vin,
      limit,
      offset,
      since: since === undefined ? undefined : new Date(since),
      until: until === undefined ? undefined : new Date(until),
    });
    return {
      telemetry: rows.map(({ timestamp, received, metrics }) => ({
        timestamp: timestamp.toISOString(),
        received: received.toISOString(),
        metrics,
      })),
    };
  });

  mount(routes.listAnomalies, async ({ vehicle, query }) => {
    const rows = await store.anomalies.list(vehicle.vin, query);
    return {
      anomalies: rows.map(({ timestamp, metric, rule, value, message }) => ({
        timestamp: timestamp.toISOString(),
        metric,
        rule,
        value,
        message,
      })),
    };
  });
}

/** Gives a report that the ECUs' keys contradict its status. */
async function refusing(take: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await take();
  } catch (error) {
    if (error instanceof UptaneError) {
      const hint = error.code === "manifest_signed" || error.code === "report_signed"
        ? `; the keys that count are those of "zonebench repo inventory list"`
        : "";
      throw new HttpProblem(422, `the report is refused: ${error.message} (Uptane ${error.clause})${hint}`, {
        code: error.code,
        cause: error,
      });
    }
    if (error instanceof ManifestRequired) {
      throw new HttpProblem(422, error.message, { code: "manifest_required", cause: error });
    }
    throw error;
  }
}

/** The channel of a topic that this vehicle may publish on. */
function ownChannel(topic: string, vehicle: Vehicle): keyof typeof fromVehicle | undefined {
  const parsed = parseTopic(topic);
  if (!parsed || (parsed.vehicle !== vehicle.vin && parsed.vehicle !== vehicle.vmgId)) return undefined;
  return isFromVehicle(parsed.channel) ? parsed.channel : undefined;
}

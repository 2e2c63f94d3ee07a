// From settings and the files of the authority to what the server is started with.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import type { InventoryEntry } from "../contract/uptane.ts";
import type { Logger } from "../log.ts";
import { importSigningKey } from "../pqc/signature.ts";
import type { ServerOptions } from "../server/options.ts";
import type { DataFolders } from "./common.ts";
import { externalBroker } from "./external_broker.ts";
import { serverOffers, serverProfiles } from "./tls.ts";
import { uptaneOptions } from "./uptane.ts";

const day = 86_400_000;

/** @param uptane keys of ECUs that run in this program, or that were found where the server runs */
export async function serverOptions(
  config: Config,
  folders: DataFolders,
  uptane: { inventory: readonly InventoryEntry[] } | { foundKeys: readonly InventoryEntry[] },
  log: Logger,
): Promise<ServerOptions> {
  const { offers, trust } = await serverOffers(folders.pki, serverProfiles(config));
  const keyFile = join(folders.pki, "signing.key");
  const { server, retention } = config;
  return {
    dataDirectory: folders.server,
    filesDirectory: server.files === "" ? undefined : server.files,
    externalBroker: config.mqtt.mode === "external" ? await externalBroker(config, folders.pki) : undefined,
    database: {
      url: config.database.url === "" ? undefined : config.database.url,
      maxConnections: config.database.max_connections,
    },
    offers,
    tlsEngine: config.tls.engine,
    trust,
    handshakeTimeout: server.tls.handshake_timeout * 1000,
    resumption: server.tls.resumption,
    signingKey: await importSigningKey(await Deno.readTextFile(keyFile)),
    https: {
      hostname: server.https.hostname,
      port: server.https.port,
      maxBody: server.https.max_body,
      maxFirmware: server.https.max_firmware,
      headerTimeout: server.https.header_timeout * 1000,
      idleTimeout: server.https.idle_timeout * 1000,
      maxConnections: server.https.max_connections,
    },
    mqtt: {
      hostname: server.mqtt.hostname,
      port: server.mqtt.port,
      maxPayload: server.mqtt.max_payload,
      maxConnections: server.mqtt.max_connections,
      maxQueued: server.mqtt.max_queued,
      maxQueuedBytes: server.mqtt.max_queued_bytes,
      maxQueuedAge: server.mqtt.max_queued_age * 1000,
    },
    local: { port: server.local.port },
    compressionLevel: config.packages.compression_level,
    deltas: config.packages.deltas && { level: config.packages.delta_level },
    updates: {
      timeout: config.updates.timeout * 1000,
      commandTimeout: config.updates.command_timeout * 1000,
      retryDelay: Math.round(config.updates.retry_min * 1000),
      maxRetryDelay: Math.round(config.updates.retry_max * 1000),
      deadlineGrace: Math.round(config.updates.deadline_grace * 1000),
    },
    diagnostics: { timeout: config.diagnostics.timeout * 1000 },
    telemetry: {
      batchSize: config.telemetry.batch_size,
      batchInterval: config.telemetry.batch_interval_ms,
      rules: config.telemetry.rules.map((rule) => ({
        metric: rule.metric,
        min: rule.min,
        max: rule.max,
        maxRate: rule.max_rate,
        maxDeviation: rule.max_deviation,
        minSamples: rule.min_samples,
      })),
    },
    uptane: { ...uptaneOptions(config, folders), ...uptane },
    maintenance: {
      interval: config.maintenance.interval * 1000,
      offlineAfter: config.maintenance.offline_after * 1000,
    },
    retention: {
      telemetry: retention.telemetry_days * day,
      anomalies: retention.anomalies_days * day,
      diagnostics: retention.diagnostics_days * day,
      updates: retention.updates_days * day,
      vci: retention.vci_days * day,
      addresses: retention.addresses_days * day,
      packages: retention.packages_days * day,
    },
    stopTimeout: server.stop_timeout * 1000,
    log,
  };
}

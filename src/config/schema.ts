// The rules that every setting must meet. The defaults stand in config/server.yaml and config/bench.yaml, once.

import { z } from "zod";
import * as id from "../contract/identifiers.ts";
import { logLevels } from "../log.ts";
import { adapter, checkCan, ecuCan } from "./can.ts";
import { ecuType } from "./ecu_type.ts";
import { uptane } from "./role_keys.ts";
import { dtcs, ecuFaults } from "./simulated_ecu.ts";

const port = z.int().min(0).max(65_535);
const seconds = z.number().positive().max(31_536_000);
const bytes = z.int().min(1);
const count = z.int().min(1);
const days = z.number().positive().max(36_500);
const hostname = z.string().min(1).max(253);
const optionalUrl = (protocols: string[]) =>
  z.string().refine(
    (text) => text === "" || (URL.canParse(text) && protocols.includes(new URL(text).protocol)),
    `must be empty or a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`,
  );

const rule = z.strictObject({
  metric: z.string().regex(
    /^[A-Za-z_][A-Za-z0-9_.]{0,63}$/,
    "must be the name of a metric such as battery_soc",
  ),
  min: z.number().optional(),
  max: z.number().optional(),
  /** Change a second. */
  max_rate: z.number().positive().optional(),
  /** Standard deviations. */
  max_deviation: z.number().positive().optional(),
  min_samples: z.int().min(2).optional(),
}).refine(
  (it) => [it.min, it.max, it.max_rate, it.max_deviation].some((limit) => limit !== undefined),
  "must have min, max, max_rate or max_deviation",
);

/** Measured values within limits. */
const conditions = z.array(
  z.strictObject({
    signal: z.string().min(1).max(64),
    min: z.number().optional(),
    max: z.number().optional(),
    /** Holds where the signal is not measured. */
    if_measured: z.boolean().optional(),
  }).refine(({ min, max }) => min !== undefined || max !== undefined, "must have min or max"),
).max(32);

/** A PQC profile. */
const profileId = z.int().min(0).max(12);

export const server = z.strictObject({
  names: z.array(hostname).max(100),
  https: z.strictObject({
    hostname,
    port,
    max_body: bytes,
    max_firmware: bytes,
    header_timeout: seconds,
    idle_timeout: seconds,
    max_connections: count,
  }),
  mqtt: z.strictObject({
    hostname,
    port,
    max_payload: bytes.max(268_435_455),
    max_connections: count,
    max_queued: count.max(65_535),
    max_queued_bytes: bytes,
    max_queued_age: seconds,
  }),
  local: z.strictObject({ port }),
  tls: z.strictObject({
    profiles: z.array(profileId).min(1).refine(
      (list) => new Set(list).size === list.length,
      "must name each profile once",
    ),
    handshake_timeout: seconds,
    resumption: z.boolean(),
  }),
  stop_timeout: seconds,
  files: z.string(),
  uptane,
});

/** A number that YAML gives as 0x0E01 or 3585. */
const address16 = z.int().min(0).max(0xffff);

const ecu = z.strictObject({
  ecu_id: id.ecuId,
  ecu_type: id.ecuType,
  logical_address: address16,
  hw_version: id.hwVersion,
  sw_version: id.reportedVersion,
  serial_number: id.label,
  part_number: id.label,
  /** Reached over CAN, not over DoIP. */
  can: ecuCan.optional(),
  /** Simulated: what its fault memory holds. */
  dtcs: dtcs.optional(),
  /** Simulated: what goes wrong. */
  faults: ecuFaults.optional(),
});

const gateway = z.strictObject({
  zonal_gateway_id: id.zonalGatewayId,
  logical_address: address16,
  /** Address of the gateway. Without it, the n-th simulated one has the n-th address of `bench.network`; a real one is looked for. */
  hostname: hostname.optional(),
  port: z.int().min(1).max(65_535).optional(),
  /** Entity identification, where VIN and logical address do not tell a gateway that is looked for. */
  eid: z.string().regex(/^[0-9A-Fa-f]{12}$/, "must be 12 hexadecimal digits").optional(),
  /** DoIP over TLS: the gateway is reached that way. */
  tls: z.strictObject({
    port: z.int().min(1).max(65_535).default(3496),
    /** A simulated gateway activates no routing without TLS (response code 0x07). */
    required: z.boolean().default(true),
    /** @default the vehicle's profile */
    profile: profileId.optional(),
    /** Name that the gateway's certificate carries. @default the gateway's address */
    server_name: hostname.optional(),
    /** Certificates (a PEM file) that its chain ends in. @default the bench's authority */
    trust: z.string().min(1).optional(),
  }).optional(),
  ecus: z.array(ecu).max(100),
});

const vehicle = z.strictObject({
  vin: id.vin,
  vmg_id: id.vmgId,
  vehicle_model: id.label.min(1),
  vehicle_year: z.int().min(1980).max(2100),
  /** Serial CAN adapters (SLCAN) through which ECUs are reached. */
  adapters: z.array(adapter).max(32).default([]),
  gateways: z.array(gateway).min(1).max(100),
});

export const bench = z.strictObject({
  /** Whether `serve` brings the gateways and ECUs below as a simulation. */
  simulated: z.boolean(),
  network: z.string().regex(
    /^(?:\d{1,3}\.){3}\d{1,3}\/(?:[89]|1\d|2\d|30)$/,
    "must be an IPv4 network such as 127.0.10.0/24",
  ).refine((text) => id.ipAddress.safeParse(text.split("/")[0]).success, "must begin with an IPv4 address"),
  timing: z.enum(["realistic", "none"]),
  vmg_address: address16,
  tester_address: address16,
  /** How real gateways without a `hostname` are looked for. */
  discovery: z.strictObject({
    /** Own address on the network of the gateways. @default the system chooses */
    address: z.string().refine((text) => id.ipAddress.safeParse(text).success, "must be an IP address")
      .optional(),
    /** Addresses that are asked, broadcast addresses among them. */
    targets: z.array(hostname).min(1).max(64).default(["255.255.255.255"]),
  }).default({ targets: ["255.255.255.255"] }),
  ecu_types: z.record(id.ecuType, ecuType),
  vehicles: z.array(vehicle).min(1).max(100),
}).check((context) => {
  const unique = (what: string, values: { value: string | number; path: PropertyKey[] }[]) => {
    const seen = new Set<string | number>();
    for (const { value, path } of values) {
      if (seen.has(value)) {
        context.issues.push({ code: "custom", input: value, path, message: `${what} ${value} stands twice` });
      }
      seen.add(value);
    }
  };
  const { vehicles, ecu_types } = context.value;
  unique("VIN", vehicles.map((it, v) => ({ value: it.vin, path: ["vehicles", v, "vin"] })));
  unique("gateway id", vehicles.map((it, v) => ({ value: it.vmg_id, path: ["vehicles", v, "vmg_id"] })));
  unique(
    "adapter",
    vehicles.flatMap((it, v) =>
      it.adapters.map(({ adapter_id: value }, a) => ({
        value,
        path: ["vehicles", v, "adapters", a, "adapter_id"],
      }))
    ),
  );
  vehicles.forEach((it, v) => {
    const gateways = it.gateways.map((gateway, g) => ({ gateway, path: ["vehicles", v, "gateways", g] }));
    const ecus = gateways.flatMap(({ gateway, path }) =>
      gateway.ecus.map((ecu, e) => ({ ecu, path: [...path, "ecus", e] }))
    );
    unique(
      "zonal gateway",
      gateways.map(({ gateway, path }) => ({
        value: gateway.zonal_gateway_id,
        path: [...path, "zonal_gateway_id"],
      })),
    );
    unique("ECU", ecus.map(({ ecu, path }) => ({ value: ecu.ecu_id, path: [...path, "ecu_id"] })));
    // Gateways and ECUs share one address space (ISO 13400-2 table 13), whatever connection leads to them.
    unique("logical address", [
      ...gateways.map(({ gateway, path }) => ({
        value: gateway.logical_address,
        path: [...path, "logical_address"],
      })),
      ...ecus.map(({ ecu, path }) => ({ value: ecu.logical_address, path: [...path, "logical_address"] })),
    ]);
    checkCan(
      it.adapters,
      ["vehicles", v, "adapters"],
      ecus.flatMap(({ ecu: { can }, path }) => can === undefined ? [] : [{ can, path: [...path, "can"] }]),
      context.value.simulated,
      (path, input, message) => context.issues.push({ code: "custom", input, path, message }),
    );
    for (const { ecu, path } of ecus) {
      const realAdapter = it.adapters.some(({ adapter_id, port }) =>
        adapter_id === ecu.can?.adapter && port !== undefined
      );
      if (ecu.faults !== undefined && (!context.value.simulated || realAdapter)) {
        context.issues.push({
          code: "custom",
          input: ecu.faults,
          path: [...path, "faults"],
          message: "is for simulated ECUs alone",
        });
      }
      if (Object.hasOwn(ecu_types, ecu.ecu_type)) continue;
      context.issues.push({
        code: "custom",
        input: ecu.ecu_type,
        path: [...path, "ecu_type"],
        message: `ECU type ${ecu.ecu_type} does not stand in bench.ecu_types`,
      });
    }
  });
});

const mqtt = z.strictObject({
  mode: z.enum(["embedded", "external"]),
  external: z.strictObject({
    url: optionalUrl(["mqtts:"]),
    server_name: z.string().max(253),
    profile: profileId,
    certificate: z.string().regex(
      /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
      "must be the name of files in the pki folder, without .crt",
    ),
    trust: z.string(),
    username: z.string().max(65_535),
    password_file: z.string(),
    client_id: z.string().regex(
      /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/,
      "must be 1 to 40 letters, digits, '_', '-'",
    ),
    share_group: z.string().regex(
      /^(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$/,
      "must be empty or 1 to 64 letters, digits, '_', '-', '.'",
    ),
    names: z.array(z.enum(["vmg_id", "vin"])).min(1).max(2),
    keepalive: z.int().min(1).max(65_535),
    connect_timeout: seconds,
    reconnect_min: seconds,
    reconnect_max: seconds,
    in_flight: count.max(65_535),
  }).refine((it) => it.reconnect_max >= it.reconnect_min, {
    message: "must be at least reconnect_min",
    path: ["reconnect_max"],
  }),
}).refine(({ mode, external }) => mode === "embedded" || external.url !== "", {
  message: "must say where the broker is when mqtt.mode is external",
  path: ["external", "url"],
});

export const config = z.strictObject({
  log: z.strictObject({ level: z.enum(logLevels) }),
  server,
  database: z.strictObject({
    url: optionalUrl(["postgres:", "postgresql:"]),
    max_connections: count.max(1000),
  }),
  mqtt,
  packages: z.strictObject({
    compression_level: z.int().min(1).max(19),
    deltas: z.boolean(),
    delta_level: z.int().min(1).max(19),
  }),
  updates: z.strictObject({
    timeout: seconds,
    command_timeout: seconds,
    retry_min: seconds,
    retry_max: seconds,
    deadline_grace: seconds,
  }).refine((it) => it.retry_max >= it.retry_min, {
    message: "must be at least retry_min",
    path: ["retry_max"],
  }),
  diagnostics: z.strictObject({ timeout: seconds }),
  telemetry: z.strictObject({
    batch_size: count.max(10_000),
    batch_interval_ms: z.number().min(1).max(10_000),
    rules: z.array(rule).max(1000),
  }),
  maintenance: z.strictObject({ interval: seconds, offline_after: seconds }),
  retention: z.strictObject({
    telemetry_days: days,
    anomalies_days: days,
    diagnostics_days: days,
    updates_days: days,
    vci_days: days,
    addresses_days: days,
    packages_days: days,
  }),
  tls: z.strictObject({ engine: z.enum(["wasm", "native"]) }),
  vmg: z.strictObject({
    tls: z.strictObject({ profile: profileId.nullable(), mqtt_profile: profileId.nullable() }),
    https_url: optionalUrl(["https:"]),
    mqtt_url: optionalUrl(["mqtts:"]),
    heartbeat_interval: seconds,
    telemetry_interval: seconds,
    reconnect_min: seconds,
    reconnect_max: seconds,
    keepalive: z.int().min(1).max(65_535),
    connect_timeout: seconds,
    address_interval: seconds,
    interface_interval: seconds,
    fallback_after: seconds,
    poll_interval: seconds,
    hold_time: seconds,
    acknowledge_timeout: seconds.max(300),
    queue: z.strictObject({ max_count: count, max_bytes: bytes, max_age: seconds }),
    auto_update: z.boolean(),
    uptane: z.strictObject({
      director_root: z.string(),
      image_root: z.string(),
      key: z.enum(["ml-dsa-65", "ecdsa-p256"], "must be ml-dsa-65 or ecdsa-p256"),
    }),
    update: z.strictObject({
      parallel_flash: count.min(1),
      confirm_timeout: seconds,
      roll_back_patience: seconds,
      download_patience: seconds,
      conditions,
      condition_timeout: seconds,
      keep_images: z.int().min(0),
      parked: conditions,
      parked_timeout: seconds,
      approval_timeout: seconds,
    }),
    diagnostics_timeout: seconds,
  }),
  bench,
});

export type Config = z.infer<typeof config>;
export type { BenchAdapter, EcuCan } from "./can.ts";
export type BenchConfig = z.infer<typeof bench>;
export type BenchVehicle = BenchConfig["vehicles"][number];
export type BenchEcu = BenchVehicle["gateways"][number]["ecus"][number];
export type { BenchEcuType } from "./ecu_type.ts";

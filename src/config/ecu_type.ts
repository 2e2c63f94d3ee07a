// The rules for what ECUs of one kind have in common: memory, security, how they are flashed, and what simulated ones have.

import { z } from "zod";
import * as id from "../contract/identifiers.ts";
import { dataIdentifiers, files } from "./simulated_ecu.ts";

const byte = z.int().min(0).max(0xff);
const address16 = z.int().min(0).max(0xffff);
const address32 = z.int().min(0).max(0xffff_ffff);
const subFunction = z.int().min(1).max(0x7f);
const milliseconds = z.number().min(1).max(3_600_000);
const hexBytes = z.string().regex(/^(?:[0-9A-Fa-f]{2})*$/, "must be hexadecimal digits, two a byte");

const memoryRegion = z.strictObject({
  name: z.string().min(1).max(32),
  start: address32,
  size: z.int().min(1).max(0x1_0000_0000),
  sector_size: z.int().min(256).max(1_048_576),
  /** Milliseconds that erasing one sector takes. */
  erase_ms: z.number().min(0).max(10_000),
  /** Milliseconds that programming 1,024 bytes takes. */
  program_ms: z.number().min(0).max(10_000),
});

/** How the key follows from the seed: an algorithm by name with its numbers, or a file. */
const security = z.strictObject({
  /** Odd: the sub-function that asks for the seed. */
  level: z.int().min(1).max(0x7d).refine((value) => value % 2 === 1, "must be odd"),
  algorithm: z.enum(["hmac-sha256", "xor", "linear"], "must be hmac-sha256, xor or linear").optional(),
  secret: z.string().regex(/^(?:[0-9A-Fa-f]{2})+$/, "must be hexadecimal digits, two a byte").optional(),
  multiplier: address32.optional(),
  addend: address32.optional(),
  module: z.string().min(1).regex(/\.(?:ts|js|mjs|wasm)$/, "must be a file .ts, .js, .mjs or .wasm")
    .optional(),
  timeout_ms: milliseconds.optional(),
}).check((context) => {
  const { algorithm, secret, multiplier, addend, module, timeout_ms } = context.value;
  const linear = multiplier !== undefined && addend !== undefined;
  const wanted = module !== undefined
    ? algorithm === undefined && secret === undefined && multiplier === undefined && addend === undefined
    : algorithm === "linear"
    ? linear && secret === undefined && timeout_ms === undefined
    : algorithm !== undefined && secret !== undefined && !linear && timeout_ms === undefined;
  if (wanted) return;
  // What was given may hold the secret: the group as such is not repeated in the message.
  context.issues.push({
    code: "custom",
    input: context.value,
    path: ["secret"],
    message: "must stand with algorithm hmac-sha256 or xor; linear takes multiplier and addend, " +
      "and module, with timeout_ms if need be, stands without an algorithm",
  });
});

/** Algorithms of certificates, as the bench file names them. */
export const certificateNames = ["ecdsa-p-256", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"] as const;

/** Certificates of Authentication (0x29), which programming needs; paths are PEM files beside the bench file. */
const authentication = z.strictObject({
  /** Of the certificate that the bench's own authority issues. */
  algorithm: z.enum(certificateNames, `must be one of ${certificateNames.join(", ")}`).optional(),
  /** A certificate of one's own, with its key. */
  certificate: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  /** Simulated: the authorities whose testers the ECU takes. @default the bench's own */
  trust: z.string().min(1).optional(),
}).refine(
  ({ certificate, key }) => (certificate === undefined) === (key === undefined),
  "must have certificate and key together",
).refine(
  ({ certificate, algorithm }) => (certificate === undefined) !== (algorithm === undefined),
  "must have algorithm, for a certificate of the bench's authority, or certificate and key",
);

/** The steps that can be left out, as hardware/flash/plan.ts names them. */
export const optionalSteps = [
  "extended_session",
  "check_preconditions",
  "dtc_setting_off",
  "communication_off",
  "security_access",
  "write_fingerprint",
  "erase_memory",
  "call_software",
  "check_memory",
  "check_dependencies",
  "ecu_reset",
  "wait_for_restart",
  "communication_on",
  "dtc_setting_on",
] as const;

const precondition = z.strictObject({
  routine: address16.optional(),
  option: hexBytes.optional(),
  did: address16.optional(),
  name: id.label.optional(),
  offset: z.int().min(0).max(4_095).optional(),
  length: z.int().min(1).max(6).optional(),
  signed: z.boolean().optional(),
  scale: z.number().optional(),
  min: z.number().optional(),
  max: z.number().optional(),
  equals: hexBytes.optional(),
}).refine(
  ({ routine, did }) => (routine === undefined) !== (did === undefined),
  "must have routine or did, and not both",
).refine(
  ({ did, min, max, equals }) => did === undefined || [min, max, equals].some((it) => it !== undefined),
  "must say what the value of did is compared with: min, max or equals",
);

const fingerprintPart = z.strictObject({
  hex: hexBytes.optional(),
  date: z.enum(["yymmdd", "yyyymmdd", "ddmmyy"], "must be yymmdd, yyyymmdd or ddmmyy").optional(),
  text: z.string().regex(/^[\x20-\x7e]+$/, "must be printable ASCII").optional(),
  length: z.int().min(1).max(255).optional(),
  fill: byte.optional(),
}).refine(
  ({ hex, date, text }) => [hex, date, text].filter((it) => it !== undefined).length === 1,
  "must have one of hex, date and text",
).refine(
  ({ text, length, fill }) => text !== undefined || length === undefined && fill === undefined,
  "must have length and fill with text alone",
);

/** How the sequence differs from the usual one. All of it may be left out. */
const flash = z.strictObject({
  steps: z.partialRecord(z.enum(optionalSteps), z.boolean()).optional(),
  extended_session: subFunction.optional(),
  programming_session: subFunction.optional(),
  preconditions: z.array(precondition).max(32).optional(),
  communication_first: z.boolean().optional(),
  communication_control: subFunction.optional(),
  communication_type: byte.min(1).optional(),
  fingerprint_did: address16.optional(),
  fingerprint: z.array(fingerprintPart).min(1).max(32).optional(),
  erase: z.enum(["segments", "range", "all"], "must be segments, range or all").optional(),
  erase_routine: address16.optional(),
  erase_option: hexBytes.optional(),
  address_bytes: z.int().min(1).max(5).optional(),
  size_bytes: z.int().min(1).max(5).optional(),
  data_format: byte.optional(),
  compression: z.enum(["none", "zlib", "deflate"], "must be none, zlib or deflate").optional(),
  max_block_length: z.int().min(3).max(0xff_ffff).optional(),
  block_repeats: z.int().min(0).max(10).optional(),
  call_routine: address16.optional(),
  check_routine: address16.optional(),
  check_method: z.enum(["sha256", "crc32", "crc16", "none"], "must be sha256, crc32, crc16 or none")
    .optional(),
  check_scope: z.enum(["image", "segments"], "must be image or segments").optional(),
  dependencies_routine: address16.optional(),
  dependencies_option: z.string().regex(
    /^(?:version|(?:[0-9A-Fa-f]{2})*)$/,
    'must be "version" or hexadecimal digits, two a byte',
  ).optional(),
  routine_ok: byte.optional(),
  trial: z.boolean().optional(),
  release_counting: z.boolean().optional(),
  backup: z.boolean().optional(),
  activate_routine: address16.optional(),
  confirm_routine: address16.optional(),
  roll_back_routine: address16.optional(),
  commit_routine: address16.optional(),
  release_counter_did: address16.optional(),
  software_ranges_did: address16.optional(),
  reset_type: subFunction.optional(),
  restart_timeout_ms: milliseconds.optional(),
  version_did: address16.optional(),
  attempts: z.int().min(1).max(10).optional(),
  reconnect_timeout_ms: milliseconds.optional(),
  resume: z.strictObject({ did: address16.optional(), routine: address16.optional() }).refine(
    ({ did, routine }) => (did === undefined) !== (routine === undefined),
    "must have did or routine, and not both",
  ).optional(),
});

/** The routine by which an ECU signs what it runs. */
const versionReport = z.strictObject({
  routine: address16.default(0x0220),
  /** Of the key that a simulated ECU makes; what a real one signs with, its answer says. */
  algorithm: z.enum(["ecdsa-p256", "ml-dsa-65"], "must be ecdsa-p256 or ml-dsa-65").default("ecdsa-p256"),
});

export const ecuType = z.strictObject({
  supplier: id.label,
  /** 2: the new image is written beside the running one; 1: in its place. */
  banks: z.union([z.literal(1), z.literal(2)], "must be 1 or 2"),
  memory: z.array(memoryRegion).min(1).max(16),
  /** Longest request that the ECU takes in a download, service id and block counter included. */
  max_block_length: z.int().min(18).max(0xf_ffff),
  /** Milliseconds from reset to the first answer. */
  boot_ms: z.number().min(0).max(60_000),
  security,
  authentication: authentication.optional(),
  flash: flash.optional(),
  /** false: it has no such routine. @default simulated ECUs have it, real ones do not */
  version_report: z.union([versionReport, z.literal(false)]).optional(),
  data_identifiers: dataIdentifiers.optional(),
  files: files.optional(),
});

export type BenchEcuType = z.infer<typeof ecuType>;

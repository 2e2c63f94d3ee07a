// CAN on the bench: the adapters of a vehicle, the addresses of ECUs behind them, and the rules that both must meet.

import { z } from "zod";
import * as id from "../contract/identifiers.ts";

const milliseconds = z.number().min(0).max(60_000);
const byte = z.int().min(0).max(0xff);
const maxBaseId = 0x7ff;
const maxExtendedId = 0x1fff_ffff;
const canId = z.int().min(0).max(maxExtendedId);

/** Nominal bit rates that SLCAN has a command for (S0 to S8), bit/s; 750000 is what S7 means on some firmware. */
const bitRates = [
  10_000,
  20_000,
  50_000,
  100_000,
  125_000,
  250_000,
  500_000,
  750_000,
  800_000,
  1_000_000,
] as const;

/** What a simulated adapter does wrong; counting begins at 1 when the bench starts. */
const canFault = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("drop"), occurrence: z.int().min(1), id: canId.optional() }),
  z.strictObject({ kind: z.literal("double"), occurrence: z.int().min(1), id: canId.optional() }),
  z.strictObject({
    kind: z.literal("late"),
    occurrence: z.int().min(1),
    id: canId.optional(),
    delay: milliseconds,
  }),
  z.strictObject({
    kind: z.literal("bus_off"),
    occurrence: z.int().min(1),
    id: canId.optional(),
    duration: milliseconds.optional(),
  }),
  z.strictObject({
    kind: z.literal("garbage"),
    occurrence: z.int().min(1),
    id: canId.optional(),
    bytes: z.string().regex(/^(?:[0-9A-Fa-f]{2}){1,65536}$/, "must be hexadecimal digits, two a byte"),
  }),
  z.strictObject({
    kind: z.literal("unplug"),
    occurrence: z.int().min(1),
    id: canId.optional(),
    duration: milliseconds,
  }),
]);

/** Absolute path of a device, or `tcp://host:port`. */
const adapterPort = z.string().max(4_096).refine(
  (text) => text.startsWith("/") || isTcpUrl(text),
  "must be the path of a device such as /dev/ttyACM0, or tcp://host:port",
);

/** One SLCAN adapter. */
export const adapter = z.strictObject({
  adapter_id: id.adapterId,
  /** Where it is. Without it, a simulated bench brings the adapter. */
  port: adapterPort.optional(),
  /** Bit/s of the serial line. USB adapters ignore it. */
  serial_baud_rate: z.int().min(300).max(12_000_000),
  /** Bit/s of the bus. */
  bit_rate: z.literal(bitRates, `must be one of ${bitRates.join(", ")}`),
  /** Bit/s of the data phase of CAN FD; without it the bus is a classic one. */
  data_bit_rate: z.literal([2_000_000, 5_000_000], "must be 2000000 or 5000000").optional(),
  /** What the adapter answers to a frame: nothing, a carriage return, or z and Z. */
  acknowledgement: z.enum(["none", "cr", "z"]),
  /** Frames that are sent ahead of their acknowledgements. */
  window: z.int().min(1).max(1_000).optional(),
  /** What the firmware takes S7 for, bit/s. */
  s7_bit_rate: z.literal([750_000, 800_000], "must be 750000 or 800000").optional(),
  /** Simulated: a PTY to be made at this path, so that another program can open the adapter. */
  pty: z.string().max(4_096).startsWith("/", "must be an absolute path").optional(),
  /** Simulated: what goes wrong. */
  faults: z.array(canFault).max(1_000).optional(),
});

/** How an ECU is reached over CAN (ISO 15765-2). */
export const ecuCan = z.strictObject({
  /** `adapter_id` of the adapter that leads to it. */
  adapter: id.adapterId,
  addressing: z.enum(["normal", "normal_fixed", "extended", "mixed"]).default("normal"),
  /** normal, extended, mixed: identifiers of requests and of answers. */
  request_id: canId.optional(),
  response_id: canId.optional(),
  /** Length of the identifiers. Without it: 11 where both fit. */
  id_bits: z.literal([11, 29], "must be 11 or 29").optional(),
  /** normal_fixed, extended, mixed without identifiers: the ECU's address (N_TA of requests). */
  ecu_address: byte.optional(),
  /** The same: the tester's address. */
  tester_address: byte.optional(),
  /** mixed: N_AE. */
  address_extension: byte.optional(),
  /** Identifier of requests to all ECUs of the bus: normal, extended, mixed. */
  functional_id: canId.optional(),
  /** Address of all ECUs of the bus: normal_fixed, extended, mixed without identifiers. */
  functional_address: byte.optional(),
  /** Whether frames are CAN FD. */
  fd: z.boolean().default(false),
  /** Bytes of a full frame: 8, with `fd` up to 64. */
  frame_length: z.literal([8, 12, 16, 20, 24, 32, 48, 64], "must be 8, 12, 16, 20, 24, 32, 48 or 64")
    .optional(),
  /** Byte that fills frames, or none. */
  padding: z.union([byte, z.literal("none")], 'must be a byte or "none"').default(0xcc),
  /** What is asked of whoever sends: frames between two flow controls, 0 for no limit. */
  block_size: byte.default(0),
  /** What is asked of whoever sends: ms between two consecutive frames. */
  st_min: z.number().refine(
    (value) => Number.isInteger(value) ? value >= 0 && value <= 127 : tenthOfMillisecond(value),
    "must be 0 to 127 ms, or 0.1 to 0.9 ms in steps of 0.1",
  ).default(0),
  /** Time-outs, ms. */
  timing: z.strictObject({
    n_as: milliseconds.optional(),
    n_ar: milliseconds.optional(),
    n_bs: milliseconds.optional(),
    n_br: milliseconds.optional(),
    n_cr: milliseconds.optional(),
    /** How long a frame may still be under way when the adapter has taken it. */
    frame_time: milliseconds.optional(),
  }).optional(),
});

export type BenchAdapter = z.infer<typeof adapter>;
export type EcuCan = z.infer<typeof ecuCan>;
export type CanFaultSetting = z.infer<typeof canFault>;

/** An ECU on CAN and where it stands in the file. */
export interface PlacedCan {
  can: EcuCan;
  path: PropertyKey[];
}

/** Tells of one thing that is wrong. */
export type Complain = (path: PropertyKey[], input: unknown, message: string) => void;

/** Checks the adapters of one vehicle, and the ECUs that refer to them. */
export function checkCan(
  adapters: readonly BenchAdapter[],
  adaptersPath: PropertyKey[],
  ecus: readonly PlacedCan[],
  simulated: boolean,
  complain: Complain,
): void {
  adapters.forEach((it, a) => {
    const at = (name: string) => [...adaptersPath, a, name];
    if (it.port === undefined && !simulated) {
      complain(
        [...adaptersPath, a],
        it.adapter_id,
        `adapter ${it.adapter_id} must have a port, such as /dev/ttyACM0: the bench is not simulated`,
      );
    }
    for (const name of ["pty", "faults"] as const) {
      if (it[name] !== undefined && (it.port !== undefined || !simulated)) {
        complain(at(name), it[name], `is for simulated adapters alone: those without a port`);
      }
    }
    if (it.window !== undefined && it.acknowledgement === "none") {
      complain(at("window"), it.window, "has no meaning with acknowledgement none");
    }
    if (it.bit_rate === 750_000 && it.s7_bit_rate !== 750_000) {
      complain(at("bit_rate"), it.bit_rate, "needs s7_bit_rate: 750000, which only some firmware has");
    }
    if (it.bit_rate === 800_000 && it.s7_bit_rate === 750_000) {
      complain(at("bit_rate"), it.bit_rate, "is not to be had where s7_bit_rate is 750000");
    }
  });
  const taken = new Map<string, string>();
  for (const { can, path } of ecus) {
    const found = adapters.find(({ adapter_id }) => adapter_id === can.adapter);
    if (found === undefined) {
      const known = adapters.map(({ adapter_id }) => adapter_id).join(", ") || "none";
      complain([...path, "adapter"], can.adapter, `must be an adapter of the vehicle; there are: ${known}`);
      continue;
    }
    if (!checkAddress(can, path, complain)) continue;
    checkFrames(can, path, found, complain);
    for (const [name, route] of Object.entries(routesOf(can))) {
      const key = `${can.adapter} ${route}`;
      const other = taken.get(key);
      if (other === undefined) taken.set(key, name);
      else {
        complain(
          [...path, name in can ? name : "ecu_address"],
          Reflect.get(can, name) ?? can.ecu_address,
          `${route} stands twice on ${can.adapter}`,
        );
      }
    }
  }
}

/** Which settings an addressing format has besides those that all have. */
const settingsOf = {
  normal: { needs: ["request_id", "response_id"], may: ["id_bits", "functional_id"] },
  normal_fixed: { needs: ["ecu_address"], may: ["tester_address", "functional_address"] },
  extended: {
    needs: ["request_id", "response_id", "ecu_address"],
    may: ["id_bits", "tester_address", "functional_id", "functional_address"],
  },
  mixed_11: {
    needs: ["request_id", "response_id", "address_extension"],
    may: ["id_bits", "functional_id"],
  },
  mixed_29: {
    needs: ["ecu_address", "address_extension"],
    may: ["tester_address", "functional_address"],
  },
} as const;

const addressSettings = [
  "request_id",
  "response_id",
  "id_bits",
  "ecu_address",
  "tester_address",
  "address_extension",
  "functional_id",
  "functional_address",
] as const;

/** The format with the two forms of mixed addressing apart: with identifiers of one's own, or fixed ones of 29 bits. */
export function formatOf(can: EcuCan): keyof typeof settingsOf {
  if (can.addressing !== "mixed") return can.addressing;
  return can.request_id === undefined ? "mixed_29" : "mixed_11";
}

function checkAddress(can: EcuCan, path: PropertyKey[], complain: Complain): boolean {
  const { needs, may } = settingsOf[formatOf(can)];
  const has: readonly string[] = [...needs, ...may];
  let good = true;
  const wrong = (name: string, input: unknown, message: string) => {
    complain(name === "" ? path : [...path, name], input, message);
    good = false;
  };
  for (const name of needs) {
    if (can[name] === undefined) wrong("", can.addressing, `addressing ${can.addressing} must have ${name}`);
  }
  for (const name of addressSettings) {
    if (can[name] !== undefined && !has.includes(name)) {
      wrong(name, can[name], `has no meaning with addressing ${can.addressing}`);
    }
  }
  if (can.id_bits === 11) {
    for (const name of ["request_id", "response_id", "functional_id"] as const) {
      const value = can[name];
      if (value !== undefined && value > maxBaseId) {
        wrong(name, value, "must be at most 0x7FF with id_bits 11");
      }
    }
  }
  return good;
}

function checkFrames(can: EcuCan, path: PropertyKey[], { data_bit_rate }: BenchAdapter, complain: Complain) {
  if (can.fd && data_bit_rate === undefined) {
    complain([...path, "fd"], can.fd, `needs a data_bit_rate at adapter ${can.adapter}`);
  }
  if ((can.frame_length ?? 8) > 8 && !can.fd) {
    complain([...path, "frame_length"], can.frame_length, "more than 8 bytes need fd: true");
  }
}

/** What an ECU takes for itself on the bus, as text: two that are equal cannot be told apart. */
function routesOf(can: EcuCan): { request_id: string; response_id: string } {
  const { request_id = 0, response_id = 0, ecu_address = 0, tester_address = 0xf1, address_extension = 0 } =
    can;
  const identifier = (value: number) => `identifier ${hex(value)}`;
  const within = (value: number, first: number) => `${identifier(value)} with first byte ${hex(first)}`;
  switch (formatOf(can)) {
    case "normal":
      return { request_id: identifier(request_id), response_id: identifier(response_id) };
    case "extended":
      return {
        request_id: within(request_id, ecu_address),
        response_id: within(response_id, tester_address),
      };
    case "mixed_11":
      return {
        request_id: within(request_id, address_extension),
        response_id: within(response_id, address_extension),
      };
    case "normal_fixed":
      return {
        request_id: `ECU address ${hex(ecu_address)}`,
        response_id: `answering ECU address ${hex(ecu_address)}`,
      };
    case "mixed_29":
      return {
        request_id: `ECU address ${hex(ecu_address)} with extension ${hex(address_extension)}`,
        response_id: `answering ECU address ${hex(ecu_address)} with extension ${hex(address_extension)}`,
      };
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase()}`;
}

function tenthOfMillisecond(value: number): boolean {
  const tenths = value * 10;
  return Math.abs(tenths - Math.round(tenths)) < 1e-9 && Math.round(tenths) >= 1 && Math.round(tenths) <= 9;
}

function isTcpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, port, pathname } = new URL(text);
  return protocol === "tcp:" && hostname !== "" && port !== "" && (pathname === "" || pathname === "/");
}

// What a codec took out of a UDS message, as JSON: numbers with their names from the tables of ISO 14229-1, bytes as
// hexadecimal, and what is secret or long by its length alone.

import { FileMode } from "../../../hardware/uds/codec/transfer.ts";
import { AuthenticationReturn, AuthenticationTask } from "../../../hardware/uds/codec/authentication.ts";
import { Definition } from "../../../hardware/uds/codec/data.ts";
import { EventType } from "../../../hardware/uds/codec/events.ts";
import { IoControl } from "../../../hardware/uds/codec/io.ts";
import { LinkControl, TimingAccess } from "../../../hardware/uds/codec/management.ts";
import { dtcSeverityNames, dtcStatusNames, formatDtc } from "../../../hardware/uds/dtc.ts";
import {
  CommunicationControl,
  Did,
  DtcSetting,
  hex,
  Routine,
  serviceName,
  Sid,
} from "../../../hardware/uds/services.ts";

/** Anything that JSON can say. */
export type Decoded = { [key: string]: Decoded } | Decoded[] | string | number | boolean | null;

type Fields = { [key: string]: Decoded };
type Table = Readonly<Record<string, number>>;

/** Sub-functions and parameters that have names, by service. */
const named: ReadonlyMap<number, Readonly<Record<string, Table>>> = new Map<number, Record<string, Table>>([
  [Sid.communicationControl, { control: CommunicationControl }],
  [Sid.controlDtcSetting, { setting: DtcSetting }],
  [Sid.inputOutputControlByIdentifier, { control: IoControl }],
  [Sid.dynamicallyDefineDataIdentifier, { definition: Definition }],
  [Sid.authentication, { task: AuthenticationTask, result: AuthenticationReturn }],
  [Sid.requestFileTransfer, { mode: FileMode }],
  [Sid.accessTimingParameter, { access: TimingAccess }],
  [Sid.linkControl, { control: LinkControl }],
  [Sid.responseOnEvent, { event: EventType }],
]);

/** Longest run of bytes that is shown. */
const longest = 256;
/** What is counted, not shown. */
const secret: ReadonlySet<string> = new Set(["seed", "proof", "sessionKeyInfo", "signature"]);

/** Words to a table's number. */
export function nameIn(table: Table, value: number): string | undefined {
  return Object.entries(table).find(([, number]) => number === value)?.[0];
}

/** A number of four digits with the name that a table has for it. */
export function identified(key: string, table: Table, value: number): Fields {
  const name = nameIn(table, value);
  return { [key]: hex(value, 4), ...name === undefined ? {} : { name } };
}

/** The fields of a service's decoded message; null when it has none. */
export function decodedFields(service: number, value: unknown): Fields | null {
  const fields = fieldsOf(value, named.get(service) ?? {});
  return Object.keys(fields).length === 0 ? null : fields;
}

function fieldsOf(value: unknown, tables: Readonly<Record<string, Table>>): Fields {
  const fields: Fields = {};
  if (typeof value !== "object" || value === null) return fields;
  for (const [key, field] of Object.entries(value)) {
    if (field === undefined || key === "kind") continue;
    if (field instanceof Uint8Array) Object.assign(fields, bytesOf(key, field));
    else if (typeof field === "number") Object.assign(fields, numberOf(key, field, tables));
    else fields[snakeCase(key)] = jsonOf(field, tables);
  }
  return fields;
}

function jsonOf(value: unknown, tables: Readonly<Record<string, Table>>): Decoded {
  if (Array.isArray(value)) return value.map((item: unknown) => jsonOf(item, tables));
  if (value instanceof Uint8Array) return upper(value);
  if (typeof value === "object") return fieldsOf(value, tables);
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
}

function bytesOf(key: string, bytes: Uint8Array): Fields {
  if (secret.has(key) || bytes.length > longest) return { [`${snakeCase(key)}_bytes`]: bytes.length };
  return { [snakeCase(key)]: upper(bytes) };
}

function numberOf(key: string, value: number, tables: Readonly<Record<string, Table>>): Fields {
  const table = tables[key];
  if (table !== undefined) return { [snakeCase(key)]: nameIn(table, value) ?? hex(value, 2) };
  switch (key) {
    case "did":
      return identified("did", Did, value);
    case "routine":
      return identified("routine", Routine, value);
    case "code":
      return { code: formatDtc(value) };
    case "dtc":
      return { dtc: formatDtc(value) };
    case "status":
      return { status: hex(value, 2), status_names: dtcStatusNames(value) };
    case "severity":
      return { severity: hex(value, 2), severity_names: dtcSeverityNames(value) };
    case "availability":
      return { status_availability_mask: hex(value, 2) };
    case "severityAvailability":
      return { severity_availability_mask: hex(value, 2) };
    case "sid":
      return { service: serviceName(value) };
    case "address":
      return { address: hex(value, 8) };
    case "dataFormat":
    case "report":
    case "record":
    case "functionalGroup":
      return { [snakeCase(key)]: hex(value, 2) };
    case "p2":
    case "p2Star":
      return { [`${snakeCase(key)}_ms`]: value };
    default:
      return { [snakeCase(key)]: value };
  }
}

function snakeCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function upper(bytes: Uint8Array): string {
  return bytes.toHex().toUpperCase();
}

// The data identifiers of a simulated ECU: by which it identifies itself, and those of its configuration.
import { Buffer } from "node:buffer";
import type { Clock } from "../clock.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal } from "../uds/server_service.ts";
import { Did } from "../uds/services.ts";
import type { BootLoader } from "./boot_loader.ts";
import { configuredIdentifier, type DataIdentifier } from "./ecu_data.ts";
import { defaultDataIdentifiers } from "./ecu_defaults.ts";
import { resumeRecord } from "./memory_request.ts";
import type { SimulatedEcuOptions } from "./options.ts";
import type { ProgrammingRules } from "./programming.ts";

/** What the identifiers tell of and change. */
export interface IdentifierParts {
  readonly vin: string;
  readonly clock: Clock;
  readonly programming: ProgrammingRules;
  readonly boot: BootLoader;
  session(): number;
  fingerprint(): Uint8Array | undefined;
  writeFingerprint(data: Uint8Array): void;
}

/**
 * The identifiers by their number.
 * @param controlled takes in what 0x2F can control
 */
export function ecuIdentifiers(
  options: SimulatedEcuOptions,
  { vin, clock, programming: { plan }, boot, session, fingerprint, writeFingerprint }: IdentifierParts,
  controlled: { reset(): void }[],
): Map<number, DataIdentifier> {
  const version: DataIdentifier = {
    read: () => {
      // A boot loader on its own has no application whose version it could tell.
      if (boot.application === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
      return new Uint8Array(Buffer.from(boot.application.version, "latin1"));
    },
  };
  const readFingerprint = (): Uint8Array => {
    const kept = fingerprint();
    if (kept === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
    return kept;
  };
  const configured = (options.dataIdentifiers ?? defaultDataIdentifiers).map((given) => {
    const identifier = configuredIdentifier(given, clock);
    controlled.push(identifier);
    return [given.did, identifier] satisfies [number, DataIdentifier];
  });
  const dids = new Map<number, DataIdentifier>([
    ...configured,
    [plan.softwareRangesDid, { read: () => rangesOf(boot) }],
    [plan.releaseCounterDid, {
      read: () => {
        const counter = new DataView(new ArrayBuffer(4));
        counter.setUint32(0, boot.release);
        return new Uint8Array(counter.buffer);
      },
    }],
    [Did.activeDiagnosticSession, { read: () => Uint8Array.of(session()) }],
    [Did.bootSoftwareIdentification, text("SIMBOOT1")],
    [plan.fingerprintDid, { read: readFingerprint, write: writeFingerprint }],
    [Did.applicationSoftwareFingerprint, { read: readFingerprint }],
    [Did.sparePartNumber, text(options.partNumber)],
    [Did.ecuSoftwareVersion, version],
    [Did.systemSupplier, text(options.supplier)],
    [Did.ecuSerialNumber, text(options.serialNumber)],
    [Did.vin, text(vin)],
    [Did.ecuHardwareNumber, text(options.hardwareNumber ?? options.partNumber)],
    [Did.supplierHardwareVersion, text(options.hwVersion)],
    [Did.supplierSoftwareVersion, version],
    [Did.systemName, text(options.ecuType)],
    [plan.versionDid, version],
  ]);
  const { resume } = plan;
  if (resume !== false && "did" in resume) dids.set(resume.did, { read: () => resumeRecord(boot, plan) });
  return dids;
}

/** Address and length of each run, four bytes each. */
function rangesOf({ application }: BootLoader): Uint8Array {
  if (application === undefined) throw new Refusal(Nrc.conditionsNotCorrect);
  const record = new DataView(new ArrayBuffer(8 * application.segments.length));
  for (const [index, { address, length }] of application.segments.entries()) {
    record.setUint32(8 * index, address);
    record.setUint32(8 * index + 4, length);
  }
  return new Uint8Array(record.buffer);
}

function text(value: string): DataIdentifier {
  const bytes = new Uint8Array(Buffer.from(value, "latin1"));
  return { read: () => bytes };
}

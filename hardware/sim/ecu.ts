// A simulated ECU: power, boot loader, flash and diagnostics put together.
import { type Clock, sleep, systemClock } from "../clock.ts";
import { versionReportRoutine } from "../flash/version_report.ts";
import { Nrc } from "../uds/nrc.ts";
import { securedService } from "../uds/secured.ts";
import { UdsServer } from "../uds/server.ts";
import type { ServerAuthentication } from "../uds/server/authentication.ts";
import { DynamicIdentifiers } from "../uds/server/dynamic_identifiers.ts";
import { ServerEvents } from "../uds/server/events.ts";
import { linkService, type LinkServiceOptions } from "../uds/server/link.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../uds/server_service.ts";
import { CommunicationControl, hex, Session, Sid } from "../uds/services.ts";
import type { DiagnosticEndpoint, RequestContext } from "../uds/transport.ts";
import { BootLoader } from "./boot_loader.ts";
import { FileChunkStore } from "./chunk_store.ts";
import { DtcMemory } from "./dtc_memory.ts";
import { ecuAccess } from "./ecu_access.ts";
import type { DataIdentifier } from "./ecu_data.ts";
import { defaultMemory, factoryImage, ram } from "./ecu_defaults.ts";
import { ecuIdentifiers } from "./ecu_identifiers.ts";
import { ecuServices } from "./ecu_services.ts";
import type { OpenTransfer } from "./ecu_transfers.ts";
import { applyFault, FaultInjector } from "./faults.ts";
import { FileStore } from "./file_store.ts";
import { FlashMemory, PowerCutError } from "./flash_memory.ts";
import { readNonvolatile, writeNonvolatile } from "./nonvolatile.ts";
import type {
  SimulatedEcuOptions,
  SimulatedFault,
  SimulatedReportOptions,
  SimulatedTiming,
} from "./options.ts";

import { type ProgrammingRules, programmingRules } from "./programming.ts";
import { type ReportKey, reportKey } from "./report_key.ts";
import { answerReport } from "./version_report.ts";

/** off · booting · application · boot: no whole application, the boot loader answers alone. */
export type EcuState = "off" | "booting" | "application" | "boot";

/** What surrounds an ECU. */
export interface EcuSurroundings {
  /** VIN of the vehicle, F190. */
  vin: string;
  /** @default "none" */
  timing?: SimulatedTiming;
  /** Folder of this ECU's memory and state. @default nothing is kept */
  directory?: string;
  /** File of the private key of its version reports. @default the key is lost with this object */
  keyFile?: string;
  /** Has the gateway close a tester's connection, for the fault of that name. @default the fault is a silence */
  closeConnection?: (tester: number) => void;
  /** @default nothing is said */
  log?: (message: string) => void;
  /** @default the system's clock */
  clock?: Clock;
  /** The link that 0x87 switches. @default none, and no service 0x87 */
  link?: LinkServiceOptions;
  /** Random numbers for seeds and challenges. @default the system's */
  random?: (length: number) => Uint8Array;
}

/** One ECU of a simulated bench. It is made without power. */
export class SimulatedEcu implements DiagnosticEndpoint {
  readonly ecuId: string;
  readonly logicalAddress: number;
  readonly options: SimulatedEcuOptions;
  readonly dtcs: DtcMemory;
  /** Whether DTCs are stored (0x85). */
  dtcSetting = true;
  /** Control type of CommunicationControl (0x28) in force. */
  communication: number = CommunicationControl.enableRxAndTx;

  readonly #memory: FlashMemory;
  readonly #boot: BootLoader;
  readonly #server: UdsServer;
  readonly #faults = new FaultInjector();
  readonly #surroundings: EcuSurroundings;
  readonly #clock: Clock;
  readonly #timed: boolean;
  readonly #nonvolatilePath: string | undefined;
  #state: EcuState = "off";
  #fingerprint: Uint8Array | undefined;
  readonly #authentication: ServerAuthentication | undefined;
  readonly #programming: ProgrammingRules;
  readonly #programmingAccess: ServiceConditions;
  readonly #files: FileStore;
  readonly #identifiers: ReadonlyMap<number, DataIdentifier>;
  readonly #controlled: { reset(): void }[] = [];
  readonly #dynamic: DynamicIdentifiers;
  readonly #events: ServerEvents;
  readonly #ram = new Uint8Array(ram.size);
  #reportKey: Promise<ReportKey> | undefined;
  #transfer: OpenTransfer | undefined;
  // Counts power cuts and resets, so that a boot that one of them interrupted ends there.
  #life = 0;
  #booted: Promise<void> = Promise.resolve();

  constructor(options: SimulatedEcuOptions, surroundings: EcuSurroundings) {
    const { ecuId, logicalAddress, banks = 2, maxBlockLength = 4_095, readMemorySecured = false } = options;
    if (!/^[A-Za-z0-9_-]+$/.test(ecuId)) {
      throw new RangeError(`ecuId: expected letters, digits, _ and -, got ${JSON.stringify(ecuId)}`);
    }
    if (!Number.isInteger(logicalAddress) || logicalAddress < 1 || logicalAddress > 0xffff) {
      throw new RangeError(`${ecuId} logicalAddress: expected 0x0001 … 0xFFFF, got ${logicalAddress}`);
    }
    if (banks !== 1 && banks !== 2) throw new RangeError(`${ecuId} banks: expected 1 or 2, got ${banks}`);
    if (!Number.isInteger(maxBlockLength) || maxBlockLength < 3 || maxBlockLength > 0xffffff) {
      throw new RangeError(`${ecuId} maxBlockLength: expected 3 … 16777215, got ${maxBlockLength}`);
    }
    this.ecuId = ecuId;
    this.logicalAddress = logicalAddress;
    this.options = options;
    this.#programming = programmingRules(ecuId, options.flash ?? {});
    this.#surroundings = surroundings;
    this.#clock = surroundings.clock ?? systemClock;
    this.#timed = surroundings.timing === "realistic";
    const { directory } = surroundings;
    this.#nonvolatilePath = directory === undefined ? undefined : `${directory}/nonvolatile.json`;
    this.#memory = new FlashMemory({
      regions: options.memory ?? defaultMemory,
      banks,
      timing: surroundings.timing,
      store: directory === undefined ? undefined : new FileChunkStore(`${directory}/flash`),
      clock: this.#clock,
    });
    this.#memory.onPowerCut = () => this.powerOff();
    this.#boot = new BootLoader(
      this.#memory,
      directory === undefined ? undefined : `${directory}/boot.json`,
      this.#programming.plan.resume !== false,
    );
    this.dtcs = new DtcMemory(options.dtcs ?? []);
    const kept = this.#nonvolatilePath === undefined ? undefined : readNonvolatile(this.#nonvolatilePath);
    if (kept !== undefined) {
      this.#fingerprint = kept.fingerprint;
      this.dtcs.restore(kept.dtcs);
    }
    this.dtcs.onChange = () => this.#keep();
    const { authentication, programmingAccess, security } = ecuAccess(options, surroundings.random);
    this.#authentication = authentication;
    this.#files = new FileStore(options.files);
    this.#identifiers = ecuIdentifiers(options, {
      vin: surroundings.vin,
      clock: this.#clock,
      programming: this.#programming,
      boot: this.#boot,
      session: () => this.#server.session,
      fingerprint: () => this.#fingerprint,
      writeFingerprint: (data) => this.#writeFingerprint(data),
    }, this.#controlled);
    const readMemory = (address: number, size: number) => this.#read(address, size);
    this.#dynamic = new DynamicIdentifiers({
      read: (did) => this.#identifiers.get(did)?.read?.(),
      readMemory,
      // What 0x23 gives behind a lock is not given without it here.
      conditions: {
        sessions: this.#programming.nonDefault,
        ...readMemorySecured && programmingAccess,
      },
    });
    this.#events = new ServerEvents({
      read: (did) => this.#readIdentifier(did),
      run: (request) => this.#server.internalRequest(request),
      sessions: [Session.default, ...this.#programming.nonDefault],
      clock: this.#clock,
      log: surroundings.log,
    });
    this.dtcs.onStatusSet = (bits) => this.#events.dtcStatusChanged(bits);
    const further = new Map<number, ServiceDefinition>();
    if (this.#authentication !== undefined) further.set(Sid.authentication, this.#authentication.service());
    const { secured } = options;
    if (secured !== undefined) {
      further.set(
        Sid.securedDataTransmission,
        securedService(secured, (request) => this.#server.internalRequest(request)),
      );
    }
    if (surroundings.link !== undefined) {
      further.set(
        Sid.linkControl,
        linkService({ sessions: this.#programming.nonDefault, ...surroundings.link }),
      );
    }
    this.#programmingAccess = programmingAccess;
    const { versionReport } = options;
    this.#server = new UdsServer({
      name: ecuId,
      sessions: [Session.default, ...this.#programming.nonDefault].map((id) => ({ id })),
      services: ecuServices({
        boot: this.#boot,
        dtcs: this.dtcs,
        dids: this.#identifiers,
        dynamic: this.#dynamic,
        events: this.#events,
        files: this.#files,
        clock: this.#clock,
        further,
        programming: this.#programming,
        programmingAccess,
        maxBlockLength,
        readMemoryAccess: readMemorySecured ? programmingAccess : {},
        readIdentifier: (did) => this.#readIdentifier(did),
        readMemory,
        writeRam: (offset, data) => this.#ram.set(data, offset),
        open: (transfer) => this.#transfer = transfer,
        busy: () => this.#transfer !== undefined || this.#boot.downloading,
        transfer: () => this.#transfer,
        closeTransfer: () => this.#transfer = undefined,
        session: () => this.#server.session,
        timing: () => this.#server.timing,
        setTiming: (timing) => this.#server.setTiming(timing),
        checkProgrammingAccess: () => this.#checkProgrammingAccess(),
        applicationRuns: () => this.#state === "application",
        setDtcSetting: (on) => this.dtcSetting = on,
        setCommunication: (control) => this.communication = control,
        reset: () => this.#restart(),
        versionReport: versionReport && {
          routine: versionReport.routine ?? versionReportRoutine,
          answer: (option) =>
            answerReport({
              ecu: options,
              boot: this.#boot,
              key: () => this.#keyOf(versionReport),
              attacks: () => [...this.#boot.attacks],
            }, option),
        },
        log: (message) => surroundings.log?.(`${ecuId}: ${message}`),
      }),
      security: [security],
      isAuthenticated: () => this.#authentication?.subject !== undefined,
      onSession: (session) => this.#sessionBegan(session),
      log: surroundings.log,
      clock: this.#clock,
      random: surroundings.random,
    });
    this.#server.security.restore(kept?.security ?? []);
    this.#server.security.onChange = () => this.#keep();
    for (const fault of options.faults ?? []) this.inject(fault);
  }

  /** What the ECU is doing. */
  get state(): EcuState {
    return this.#state;
  }

  /** Version of the application that runs, if one does. */
  get version(): string | undefined {
    return this.#state === "application" ? this.#boot.application?.version : undefined;
  }

  /** The diagnostic session that is active. */
  get session(): number {
    return this.#server.session;
  }

  /** Flash operations so far, for power cuts in the n-th. */
  get flashOperations(): number {
    return this.#memory.operations;
  }

  /** Switches on; resolves when the ECU answers, or is off again. */
  powerOn(): Promise<void> {
    if (this.#state === "off") {
      this.#memory.powered = true;
      this.#restart();
    }
    return this.#booted;
  }

  /** Cuts the power at once. What was under way ends where it is. */
  powerOff(): void {
    if (this.#state === "off") return;
    this.#surroundings.log?.(`${this.ecuId}: power off`);
    this.#life++;
    this.#state = "off";
    this.#memory.powered = false;
    this.#boot.attacks.clear();
    this.#ram.fill(0);
    this.#files.partial = undefined;
    this.#faults.powerCycled();
    this.#leaveSession();
  }

  /** Switches off and closes the files. */
  close(): void {
    this.powerOff();
    this.#memory.close();
  }

  /** Resolves when a boot under way has ended. */
  ready(): Promise<void> {
    return this.#booted;
  }

  /** Bytes as the CPU sees them: of the active bank, FF where erased. @throws {RangeError} outside the regions */
  readMemory(address: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    const region = this.#memory.regionOf(address, length);
    this.#memory.read(region === undefined ? 0 : this.#boot.activeBank(region), address, into);
    return into;
  }

  /** A test of the ECU found this: stored unless DTC setting is off. @returns whether it was stored */
  reportDtc(code: number, status: number): boolean {
    if (!this.dtcSetting || this.#state !== "application") return false;
    this.dtcs.set(code, status);
    return true;
  }

  /** Sets a fault. @throws {RangeError} when its numbers cannot be */
  inject(fault: SimulatedFault): void {
    if (fault.kind !== "power_cut") return this.#faults.add(fault);
    if (!Number.isInteger(fault.operation) || fault.operation < 1) {
      throw new RangeError(`fault operation: expected 1 or more, got ${fault.operation}`);
    }
    this.#memory.cutPowerAt(fault.operation);
  }

  /** Public key of its version reports, PEM, made with the private one when there is none; undefined if it signs none. */
  async reportPublicKey(): Promise<string | undefined> {
    const { versionReport } = this.options;
    return versionReport && (await this.#keyOf(versionReport)).publicPem;
  }

  #keyOf({ algorithm = "ecdsa-p256" }: SimulatedReportOptions): Promise<ReportKey> {
    if (this.#reportKey !== undefined) return this.#reportKey;
    const made = reportKey(algorithm, this.#surroundings.keyFile);
    // A disk that failed may do the next time.
    made.catch(() => this.#reportKey = undefined);
    return this.#reportKey = made;
  }

  /** Takes all faults back. */
  clearFaults(): void {
    this.#faults.clear();
    this.#memory.cancelPowerCut();
  }

  handle(request: Uint8Array, context: RequestContext, respond: (response: Uint8Array) => void): void {
    if (this.#state !== "application" && this.#state !== "boot" || request.length === 0) return;
    const answer = this.#timed ? this.#paced(respond) : respond;
    if (this.#faults.idle) this.#server.handle(request, context, answer);
    else this.#handleFaulty(request, context, answer);
  }

  /** Holds back an answer that is ready sooner than an ECU's software would be, so that the bus acknowledges first. */
  #paced(respond: (response: Uint8Array) => void): (response: Uint8Array) => void {
    const due = this.#clock.now() + (this.options.responseTime ?? 2);
    return (response) => {
      const wait = due - this.#clock.now();
      if (wait <= 0) return respond(response);
      const kept = response.slice();
      this.#clock.after(wait, () => respond(kept));
    };
  }

  disconnected(tester: number): void {
    this.#server.disconnected(tester);
  }

  #handleFaulty(request: Uint8Array, context: RequestContext, respond: (response: Uint8Array) => void): void {
    const fault = this.#faults.meet(request[0]);
    if (fault === undefined) return this.#server.handle(request, context, respond);
    if (fault.kind !== "silence") {
      this.#surroundings.log?.(`${this.ecuId}: fault ${fault.kind} at service ${hex(request[0], 2)}`);
    }
    applyFault(fault, request[0], {
      handle: (answer) => this.#server.handle(request, context, answer),
      respond,
      closeConnection: () => this.#surroundings.closeConnection?.(context.tester),
      clock: this.#clock,
    });
  }

  /** Boots anew, as power-on and reset do. */
  #restart(): void {
    this.#life++;
    this.#state = "booting";
    this.#leaveSession();
    this.#booted = this.#start(this.#life);
    // After a reset nobody waits for the boot; an ECU whose files fail stays silent and says why.
    this.#booted.catch((error) =>
      this.#surroundings.log?.(
        `${this.ecuId}: boot failed: ${error instanceof Error ? error.message : error}`,
      )
    );
  }

  async #start(life: number): Promise<void> {
    try {
      if (this.#timed) await sleep(this.#clock, this.options.bootTime ?? 400);
      if (life !== this.#life) return;
      if (this.#boot.isNew) await this.#leaveFactory();
      if (life !== this.#life) return;
      await this.#boot.boot();
    } catch (error) {
      // The power failed while booting; powerOff() has said so and the next power-on starts over.
      if (error instanceof PowerCutError) return;
      throw error;
    }
    if (life !== this.#life) return;
    this.#state = this.#boot.application === undefined ? "boot" : "application";
    this.#surroundings.log?.(
      `${this.ecuId}: ${
        this.#boot.application === undefined
          ? "no whole application, boot loader"
          : `application ${this.#boot.application.version}${this.#boot.onTrial ? ", on trial" : ""}`
      }`,
    );
    this.#watchTrial(life);
  }

  /** A trial that nobody confirms ends by a restart, which goes back to the old software. */
  #watchTrial(life: number): void {
    const { trialTime = 0 } = this.options;
    if (trialTime === 0 || !this.#boot.onTrial) return;
    this.#clock.after(trialTime, () => {
      if (life === this.#life && this.#boot.onTrial) this.#restart();
    });
  }

  /** Whether the application runs on trial: the next start goes back to what ran before. */
  get onTrial(): boolean {
    return this.#state === "application" && this.#boot.onTrial;
  }

  /** Release counter: software below it is refused. */
  get release(): number {
    return this.#boot.release;
  }

  async #leaveFactory(): Promise<void> {
    const { swVersion, factoryImageSize = 32_768 } = this.options;
    const [region] = this.#memory.regions;
    const image = factoryImage(this.options, Math.min(factoryImageSize, region.size));
    this.#memory.counting = false;
    try {
      await this.#boot.install(swVersion, region.address, image);
    } finally {
      this.#memory.counting = true;
    }
  }

  #leaveSession(): void {
    this.#server.reset();
    this.#sessionBegan(Session.default);
  }

  #sessionBegan(session: number): void {
    // What was downloaded belongs to the programming session that took it.
    this.#boot.abort();
    this.#transfer = undefined;
    // 2F's control ends with the extended session (13.2.1).
    if (!this.#programming.extended.includes(session)) {
      for (const point of this.#controlled) {
        point.reset();
      }
    }
    if (session !== Session.default) return;
    // The default session undoes what 85 and 28 set (10.2.1).
    this.dtcSetting = true;
    this.communication = CommunicationControl.enableRxAndTx;
  }

  #keep(): void {
    if (this.#nonvolatilePath === undefined) return;
    writeNonvolatile(this.#nonvolatilePath, {
      fingerprint: this.#fingerprint,
      dtcs: this.dtcs.statuses,
      security: this.#server.security.kept,
    });
  }

  #checkProgrammingAccess(): void {
    const { securityLevel, authentication } = this.#programmingAccess;
    if (securityLevel !== undefined && this.#server.security.unlocked !== securityLevel) {
      throw new Refusal(Nrc.securityAccessDenied);
    }
    if (authentication === true && this.#authentication?.subject === undefined) {
      throw new Refusal(Nrc.authenticationRequired);
    }
  }

  /** Data of any identifier, a dynamic one too; undefined: not supported. */
  #readIdentifier(did: number): Uint8Array | undefined {
    return this.#identifiers.get(did)?.read?.() ?? this.#dynamic.read(did);
  }

  /** Flash as the CPU sees it, and RAM; undefined outside. */
  #read(address: number, size: number): Uint8Array | undefined {
    if (size > 0 && address >= ram.address && address + size <= ram.address + ram.size) {
      return this.#ram.slice(address - ram.address, address - ram.address + size);
    }
    return this.#memory.regionOf(address, size) === undefined ? undefined : this.readMemory(address, size);
  }

  #writeFingerprint(data: Uint8Array): void {
    // Written by whoever programs, and by nobody else.
    if (!this.#programming.programming.includes(this.#server.session)) {
      throw new Refusal(Nrc.conditionsNotCorrect);
    }
    this.#checkProgrammingAccess();
    if (data.length > 64) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
    this.#fingerprint = data;
    this.#keep();
  }
}

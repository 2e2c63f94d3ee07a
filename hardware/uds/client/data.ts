// The tester's side of the data transmission unit (ISO 14229-1:2020 clause 11) beyond single identifiers, and of input
// and output control (13.2).
import {
  type DataSource,
  decodePeriodicData,
  Definition,
  dynamicallyDefineDataIdentifier,
  type PeriodicData,
  type PeriodicForm,
  readDataByIdentifier,
  readDataByPeriodicIdentifier,
  readScalingDataByIdentifier,
  type Scaling,
  splitDataRecords,
  TransmissionMode,
  writeMemoryByAddress,
} from "../codec/data.ts";
import { inputOutputControlByIdentifier, IoControl } from "../codec/io.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import type { MemoryFormat, MemoryRange } from "../memory_range.ts";
import { hex, Sid } from "../services.ts";
import { ask, unexpected } from "./ask.ts";
import { type UnaskedOptions, unaskedStream } from "./unasked.ts";

/** Options of {@link DataClient.periodic}. */
export interface PeriodicOptions extends UnaskedOptions {
  /** Rate; the times are the ECU's. @default "fast" */
  rate?: "slow" | "medium" | "fast";
  /** How the ECU sends them on this path. @default "with_sid" */
  form?: PeriodicForm;
}

/** Part of {@link UdsClient}: `client.data`. */
export class DataClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * 0x22 with several identifiers, 11.2. An ECU leaves out what it does not support.
   * @param lengthOf bytes of each identifier's data: nothing else tells where one ends. Only the last may be undefined
   */
  async readIdentifiers(
    dids: readonly number[],
    lengthOf: (did: number) => number | undefined,
    options?: RequestOptions,
  ): Promise<Map<number, Uint8Array>> {
    const answer = await ask(this.#exchange, readDataByIdentifier, { dids }, options);
    const records = splitDataRecords(answer, lengthOf);
    const unasked = records?.find(({ did }) => !dids.includes(did));
    if (records === undefined || unasked !== undefined) {
      throw unexpected(
        this.#exchange,
        Sid.readDataByIdentifier,
        "records of the lengths given",
        unasked === undefined ? `${answer.data.length} bytes that do not fit` : hex(unasked.did, 4),
      );
    }
    return new Map(records.map(({ did, data }) => [did, data]));
  }

  /** 0x24, 11.4. */
  async readScaling(did: number, options?: RequestOptions): Promise<readonly Scaling[]> {
    return (await ask(this.#exchange, readScalingDataByIdentifier, { did }, options)).scaling;
  }

  /**
   * 0x2A, 11.5: has the ECU send identifiers of F2xx at a rate, and gives what it sends.
   *
   * The queue is bounded: while the reader is slow the oldest transmission is dropped and counted in `dropped`. It ends
   * by `return()` (a `break` in `for await`), by the signal, or by an error; the first two tell the ECU to stop.
   *
   * @param ids low bytes of the identifiers
   */
  periodic(
    ids: readonly number[],
    options: PeriodicOptions = {},
  ): AsyncGenerator<PeriodicData, void, void> & { readonly dropped: number } {
    const { rate = "fast", form = "with_sid" } = options;
    if (ids.length === 0) throw new RangeError("ids: expected at least 1 periodic data identifier, got 0");
    const request = (mode: number) =>
      ask(this.#exchange, readDataByPeriodicIdentifier, { mode, ids }, requestOptions(options));
    return unaskedStream(this.#exchange, options, {
      take: (message) => {
        const data = decodePeriodicData(message, form);
        return data !== undefined && ids.includes(data.id) ? data : undefined;
      },
      start: async () => void await request(TransmissionMode[rate]),
      stop: async () =>
        void await ask(this.#exchange, readDataByPeriodicIdentifier, { mode: TransmissionMode.stop, ids }),
    });
  }

  /** 0x2A 04, 11.5. @param ids @default all */
  async stopPeriodic(ids: readonly number[] = [], options?: RequestOptions): Promise<void> {
    await ask(this.#exchange, readDataByPeriodicIdentifier, { mode: TransmissionMode.stop, ids }, options);
  }

  /** 0x2C 01, 11.6. @param did F200–F3FF; a definition that is there already is added to */
  async defineByIdentifier(
    did: number,
    sources: readonly DataSource[],
    options?: RequestOptions,
  ): Promise<void> {
    if (sources.length === 0) throw new RangeError("sources: expected at least 1, got 0");
    const request = { definition: Definition.byIdentifier, did, sources };
    this.#defined(did, await ask(this.#exchange, dynamicallyDefineDataIdentifier, request, options));
  }

  /** 0x2C 02, 11.6. */
  async defineByMemoryAddress(
    did: number,
    ranges: readonly MemoryRange[],
    options: RequestOptions & { format?: MemoryFormat } = {},
  ): Promise<void> {
    if (ranges.length === 0) throw new RangeError("ranges: expected at least 1, got 0");
    const { format } = options;
    const request = { definition: Definition.byMemoryAddress, did, ranges, format };
    this.#defined(did, await ask(this.#exchange, dynamicallyDefineDataIdentifier, request, options));
  }

  /** 0x2C 03, 11.6. @param did @default all */
  async clearDefinition(did?: number, options?: RequestOptions): Promise<void> {
    const request = { definition: Definition.clear, did };
    this.#defined(did, await ask(this.#exchange, dynamicallyDefineDataIdentifier, request, options));
  }

  /** 0x3D, 11.8. */
  async writeMemory(
    address: number,
    data: Uint8Array,
    options: RequestOptions & { format?: MemoryFormat } = {},
  ): Promise<void> {
    const range = { address, size: data.length };
    const request = { range, format: options.format, data };
    const answer = await ask(this.#exchange, writeMemoryByAddress, request, options);
    if (answer.range.address !== address || answer.range.size !== data.length) {
      throw unexpected(
        this.#exchange,
        Sid.writeMemoryByAddress,
        `${data.length} bytes at ${hex(address, 8)}`,
        `${answer.range.size} at ${hex(answer.range.address, 8)}`,
      );
    }
  }

  /**
   * 0x2F, 13.2.
   *
   * @param control one of `IoControl`
   * @param state the state to set, with shortTermAdjustment
   * @param mask controlEnableMask: one bit for each parameter of the identifier, highest first. @default none is sent
   * @returns the state in force
   */
  async inputOutputControl(
    did: number,
    control: number,
    state: Uint8Array = new Uint8Array(),
    mask: Uint8Array = new Uint8Array(),
    options?: RequestOptions,
  ): Promise<Uint8Array> {
    if (control !== IoControl.shortTermAdjustment && state.length > 0) {
      throw new RangeError(`state: expected none with control ${hex(control, 2)}, got ${state.length} bytes`);
    }
    const record = new Uint8Array(state.length + mask.length);
    record.set(state);
    record.set(mask, state.length);
    const answer = await ask(
      this.#exchange,
      inputOutputControlByIdentifier,
      { did, control, record },
      options,
    );
    if (answer.control !== control) {
      const sid = Sid.inputOutputControlByIdentifier;
      throw unexpected(this.#exchange, sid, `control ${hex(control, 2)}`, hex(answer.control, 2));
    }
    return answer.state;
  }

  #defined(did: number | undefined, answer: { did?: number }): void {
    if (answer.did === did) return;
    const shown = (value: number | undefined) => value === undefined ? "no identifier" : hex(value, 4);
    throw unexpected(
      this.#exchange,
      Sid.dynamicallyDefineDataIdentifier,
      shown(did),
      shown(answer.did),
    );
  }
}

/** The stream's signal ends the request that starts it as well. */
function requestOptions({ signal }: UnaskedOptions): RequestOptions {
  return { signal };
}

// The ECU's side of DynamicallyDefineDataIdentifier (0x2C, ISO 14229-1:2020 11.6).
import { Definition, dynamicallyDefineDataIdentifier } from "../codec/data.ts";
import { Nrc } from "../nrc.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../server_service.ts";

/** Where the parts come from. */
export interface DynamicIdentifierOptions {
  /** Data of a static identifier now; undefined: not supported. @throws {Refusal} */
  read: (did: number) => Uint8Array | undefined;
  /** Bytes of memory; undefined: not readable. */
  readMemory: (address: number, size: number) => Uint8Array | undefined;
  /** Longest data of one dynamic identifier, bytes. @default 255 */
  maxLength?: number;
  /** Dynamic identifiers at once. @default 32 */
  limit?: number;
  /** Conditions of the service. @default none */
  conditions?: ServiceConditions;
}

interface Part {
  size: number;
  read: () => Uint8Array | undefined;
}

/** Dynamic identifiers and the service that defines them. They last until they are cleared or the power goes. */
export class DynamicIdentifiers {
  readonly #options: DynamicIdentifierOptions;
  readonly #definitions = new Map<number, Part[]>();

  constructor(options: DynamicIdentifierOptions) {
    this.#options = options;
  }

  /** Data of a dynamic identifier now; undefined: not defined. @throws {Refusal} when a part cannot be read */
  read(did: number): Uint8Array | undefined {
    const parts = this.#definitions.get(did);
    if (parts === undefined) return undefined;
    const bytes: number[] = [];
    for (const part of parts) {
      const data = part.read();
      if (data === undefined || data.length < part.size) throw new Refusal(Nrc.conditionsNotCorrect);
      bytes.push(...data);
    }
    return Uint8Array.from(bytes);
  }

  /** 0x2C */
  service(): ServiceDefinition {
    const { conditions } = this.#options;
    return {
      ...conditions,
      subFunctions: new Map([
        [Definition.byIdentifier, { minLength: 8 }],
        [Definition.byMemoryAddress, { minLength: 7 }],
        [Definition.clear, { maxLength: 4 }],
      ]),
      handle: ({ bytes }) => this.#handle(bytes),
      reset: () => this.#definitions.clear(),
    };
  }

  #handle(bytes: Uint8Array): Uint8Array {
    const request = dynamicallyDefineDataIdentifier.request.decode(bytes);
    const { definition, did } = request;
    if (request.definition === Definition.clear) {
      if (request.did === undefined) this.#definitions.clear();
      else if (!this.#definitions.delete(request.did)) throw new Refusal(Nrc.requestOutOfRange);
    } else {
      const parts = request.definition === Definition.byIdentifier
        ? request.sources.map((source) => this.#part(source))
        : request.ranges.map(({ address, size }) => this.#memoryPart(address, size));
      this.#define(request.did, parts);
    }
    return dynamicallyDefineDataIdentifier.response.encode({ definition, did });
  }

  #define(did: number, parts: Part[]): void {
    const { maxLength = 255, limit = 32 } = this.#options;
    // F200–F2FF periodic, F300–F3FF dynamic (Annex C.1); one with data of its own cannot be defined anew.
    if (did < 0xf200 || did > 0xf3ff || this.#options.read(did) !== undefined) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    // A definition that is there is added to (11.6.2).
    const all = [...this.#definitions.get(did) ?? [], ...parts];
    const length = all.reduce((sum, { size }) => sum + size, 0);
    if (length > maxLength || !this.#definitions.has(did) && this.#definitions.size >= limit) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    this.#definitions.set(did, all);
  }

  #part({ did, position, size }: { did: number; position: number; size: number }): Part {
    const { read } = this.#options;
    const data = read(did);
    if (data === undefined || position < 1 || size < 1 || position - 1 + size > data.length) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    return { size, read: () => read(did)?.subarray(position - 1, position - 1 + size) };
  }

  #memoryPart(address: number, size: number): Part {
    const { readMemory, maxLength = 255 } = this.#options;
    if (size < 1 || size > maxLength || readMemory(address, size) === undefined) {
      throw new Refusal(Nrc.requestOutOfRange);
    }
    return { size, read: () => readMemory(address, size) };
  }
}

// Transfers of a simulated ECU beside the download into flash: RequestUpload (0x35) and RequestFileTransfer (0x38).
// One transfer is open at a time; TransferData (0x36) and RequestTransferExit (0x37) go to it.
import { FileMode, type FileRequest, requestFileTransfer, requestUpload } from "../uds/codec/transfer.ts";
import { Nrc } from "../uds/nrc.ts";
import { Refusal, type ServiceConditions, type ServiceDefinition } from "../uds/server_service.ts";
import type { FileStore, PartialFile } from "./file_store.ts";
import type { ProgrammingRules } from "./programming.ts";

/** A transfer that is open. */
export interface OpenTransfer {
  /** Takes or gives one block. @returns the answer's data. @throws {Refusal} */
  block(counter: number, data: Uint8Array): Uint8Array;
  /** Ends it. @throws {Refusal} 24 before all of it went over */
  exit(): void;
}

const empty = new Uint8Array();

/** Checks block counters: the next one, or the last one again after an answer was lost (15.4.2.2). */
class BlockCounter {
  #last = 0;

  /** @returns whether the block is the last one again */
  take(counter: number, any: boolean): boolean {
    if (any && counter === this.#last) return true;
    if (counter !== (this.#last + 1 & 0xff)) throw new Refusal(Nrc.wrongBlockSequenceCounter);
    this.#last = counter;
    return false;
  }
}

/** Gives data in blocks. */
export function upload(data: Uint8Array, maxBlockLength: number): OpenTransfer {
  const counter = new BlockCounter();
  let at = 0;
  let last: Uint8Array = empty;
  return {
    block(number, parameter) {
      if (parameter.length > 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      if (counter.take(number, at > 0)) return last;
      if (at === data.length) throw new Refusal(Nrc.requestSequenceError);
      last = data.subarray(at, at + maxBlockLength - 2);
      at += last.length;
      return last;
    },
    exit() {
      if (at < data.length) throw new Refusal(Nrc.requestSequenceError);
    },
  };
}

/** Takes a file in blocks. */
function fileWrite(store: FileStore, file: PartialFile): OpenTransfer {
  const counter = new BlockCounter();
  let any = false;
  return {
    block(number, data) {
      if (counter.take(number, any)) return empty;
      if (data.length === 0) throw new Refusal(Nrc.incorrectMessageLengthOrInvalidFormat);
      if (file.received + data.length > file.size) throw new Refusal(Nrc.transferDataSuspended);
      file.data.set(data, file.received);
      file.received += data.length;
      any = true;
      return empty;
    },
    exit() {
      if (file.received < file.size) throw new Refusal(Nrc.requestSequenceError);
      store.commit(file);
    },
  };
}

/** What the two services work on. */
export interface TransferParts {
  readonly files: FileStore;
  readonly maxBlockLength: number;
  readonly programming: ProgrammingRules;
  /** What programming needs: security or authentication. */
  readonly programmingAccess: ServiceConditions;
  /** Bytes of memory; undefined: not readable. */
  readMemory(address: number, size: number): Uint8Array | undefined;
  /** Opens a transfer in place of the one that is open. */
  open(transfer: OpenTransfer): void;
  /** Whether a download or another transfer is open. */
  busy(): boolean;
}

/** 0x35 */
export function uploadService(ecu: TransferParts): ServiceDefinition {
  return {
    sessions: ecu.programming.programming,
    ...ecu.programmingAccess,
    minLength: 5,
    handle: ({ bytes }) => {
      const { dataFormat, range } = requestUpload.request.decode(bytes);
      if (dataFormat !== 0) throw new Refusal(Nrc.requestOutOfRange);
      if (ecu.busy()) throw new Refusal(Nrc.conditionsNotCorrect);
      const data = range.size === 0 ? undefined : ecu.readMemory(range.address, range.size);
      if (data === undefined) throw new Refusal(Nrc.requestOutOfRange);
      ecu.open(upload(data, ecu.maxBlockLength));
      return requestUpload.response.encode({ maxBlockLength: ecu.maxBlockLength });
    },
  };
}

/** 0x38 */
export function fileService(ecu: TransferParts): ServiceDefinition {
  return {
    sessions: ecu.programming.programming,
    ...ecu.programmingAccess,
    minLength: 5,
    handle: ({ bytes }) => {
      const request = requestFileTransfer.request.decode(bytes);
      if (ecu.busy()) throw new Refusal(Nrc.conditionsNotCorrect);
      const { mode, path } = request;
      // Paths have no empty, `.` or `..` parts: there is one name for each file.
      if (
        !/^\/?[^/\\]+(\/[^/\\]+)*\/?$/.test(path) || path.split("/").some((part) => /^\.{1,2}$/.test(part))
      ) {
        throw new Refusal(Nrc.requestOutOfRange);
      }
      if ("dataFormat" in request && request.dataFormat !== 0) throw new Refusal(Nrc.requestOutOfRange);
      const head = { mode, maxBlockLength: ecu.maxBlockLength, dataFormat: 0 };
      switch (request.mode) {
        case FileMode.delete:
          if (!ecu.files.delete(path)) throw new Refusal(Nrc.requestOutOfRange);
          return requestFileTransfer.response.encode({ mode });
        case FileMode.read:
        case FileMode.readDirectory: {
          const data = request.mode === FileMode.read ? ecu.files.get(path) : ecu.files.list(path);
          if (data === undefined) throw new Refusal(Nrc.requestOutOfRange);
          ecu.open(upload(data, ecu.maxBlockLength));
          return requestFileTransfer.response.encode({
            ...head,
            size: data.length,
            compressedSize: data.length,
          });
        }
        default: {
          const file = begin(ecu.files, request);
          ecu.open(fileWrite(ecu.files, file));
          return requestFileTransfer.response.encode({ ...head, position: file.received });
        }
      }
    },
  };
}

function begin(
  files: FileStore,
  { mode, path, size, compressedSize }: Extract<FileRequest, { size: number }>,
): PartialFile {
  // Nothing is compressed here, so both sizes are the same.
  if (size !== compressedSize || path.endsWith("/")) throw new Refusal(Nrc.requestOutOfRange);
  if (mode === FileMode.resume) {
    const { partial } = files;
    if (partial?.path !== path || partial.size !== size) throw new Refusal(Nrc.requestOutOfRange);
    return partial;
  }
  if (mode === FileMode.add && files.has(path)) throw new Refusal(Nrc.requestOutOfRange);
  const file = files.begin(path, size);
  if (file === undefined) throw new Refusal(Nrc.uploadDownloadNotAccepted);
  return file;
}

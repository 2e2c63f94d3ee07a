// The tester's side of RequestFileTransfer (ISO 14229-1:2020 15.6): whole files to and from an ECU.
import { FileMode, type FileRequest, type FileResponse, requestFileTransfer } from "../codec/transfer.ts";
import { requestTransferExit, transferData } from "../codec/transfer.ts";
import type { Exchange, RequestOptions } from "../exchange.ts";
import { Sid } from "../services.ts";
import { ask, unexpected } from "./ask.ts";

/** Options of a file's transfer. */
export interface FileOptions extends RequestOptions {
  /** Compression in the high nibble, encryption in the low. @default 0 */
  dataFormat?: number;
  /** Bytes of the file before compression. @default the data's length */
  uncompressedSize?: number;
  /** Told of each block that the ECU took or gave. @param done bytes so far */
  onProgress?: (done: number, total: number) => void;
}

/** Longest file that {@link FileClient.read} takes, bytes. */
const longestFile = 256 << 20;

/** Part of {@link UdsClient}: `client.files`. */
export class FileClient {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** 0x38 itself, any mode; the transfer that it opens is the caller's. */
  async request(request: FileRequest, options?: RequestOptions): Promise<FileResponse> {
    return await ask(this.#exchange, requestFileTransfer, request, options);
  }

  /** Mode 01: a new file. @throws {NegativeResponseError} when it is there already */
  async add(path: string, data: Uint8Array, options: FileOptions = {}): Promise<void> {
    await this.#write(FileMode.add, path, data, options);
  }

  /** Mode 03: a file that is there, or a new one. */
  async replace(path: string, data: Uint8Array, options: FileOptions = {}): Promise<void> {
    await this.#write(FileMode.replace, path, data, options);
  }

  /** Mode 06: goes on where a broken transfer of the same file ended. */
  async resume(path: string, data: Uint8Array, options: FileOptions = {}): Promise<void> {
    await this.#write(FileMode.resume, path, data, options);
  }

  /** Mode 02. */
  async delete(path: string, options?: RequestOptions): Promise<void> {
    await this.request({ mode: FileMode.delete, path }, options);
  }

  /** Mode 04. @returns the file as it was transferred */
  async read(path: string, options: FileOptions = {}): Promise<Uint8Array> {
    const { dataFormat = 0 } = options;
    const answer = await this.request({ mode: FileMode.read, path, dataFormat }, options);
    return await this.#upload(answer.compressedSize ?? 0, options);
  }

  /** Mode 05. @returns the directory's information; its layout is the ECU's (one name a line, as a rule) */
  async readDirectory(path: string, options: FileOptions = {}): Promise<Uint8Array> {
    const answer = await this.request({ mode: FileMode.readDirectory, path }, options);
    return await this.#upload(answer.size ?? 0, options);
  }

  async #write(
    mode: typeof FileMode.add | typeof FileMode.replace | typeof FileMode.resume,
    path: string,
    data: Uint8Array,
    options: FileOptions,
  ): Promise<void> {
    const { dataFormat = 0, uncompressedSize = data.length } = options;
    const answer = await this.request(
      { mode, path, dataFormat, size: uncompressedSize, compressedSize: data.length },
      options,
    );
    const position = answer.position ?? 0;
    if (position > data.length) {
      throw unexpected(
        this.#exchange,
        Sid.requestFileTransfer,
        `a position up to ${data.length}`,
        `${position}`,
      );
    }
    // maxNumberOfBlockLength includes the service byte and the counter.
    const longest = Math.min(answer.maxBlockLength ?? 0, this.#exchange.maxRequestLength) - 2;
    for (let at = position, counter = 1; at < data.length; counter = counter + 1 & 0xff) {
      const block = data.subarray(at, at + longest);
      await ask(this.#exchange, transferData, { counter, data: block }, options);
      at += block.length;
      options.onProgress?.(at, data.length);
    }
    await ask(this.#exchange, requestTransferExit, { data: new Uint8Array() }, options);
  }

  async #upload(size: number, options: FileOptions): Promise<Uint8Array> {
    if (size > longestFile) {
      throw unexpected(
        this.#exchange,
        Sid.requestFileTransfer,
        `a size up to ${longestFile} bytes`,
        `${size}`,
      );
    }
    const file = new Uint8Array(size);
    for (let at = 0, counter = 1; at < size; counter = counter + 1 & 0xff) {
      const { data } = await ask(this.#exchange, transferData, { counter, data: new Uint8Array() }, options);
      if (data.length === 0 || at + data.length > size) {
        const expected = `1 … ${size - at} bytes of the file`;
        throw unexpected(this.#exchange, Sid.transferData, expected, `${data.length}`);
      }
      file.set(data, at);
      at += data.length;
      options.onProgress?.(at, size);
    }
    await ask(this.#exchange, requestTransferExit, { data: new Uint8Array() }, options);
    return file;
  }
}

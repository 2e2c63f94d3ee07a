// Messages of the upload download functional unit, ISO 14229-1:2020 clause 15.
import { Buffer } from "node:buffer";
import type { MessageReader, MessageWriter } from "../bytes.ts";
import { Sid } from "../services.ts";
import { type MemoryField, readMemory, writeMemory } from "./data.ts";
import { serviceCodec } from "./codec.ts";

/** 15.2, 15.3 */
export interface TransferRequest extends MemoryField {
  /** Compression in the high nibble, encryption in the low; 0: neither. */
  readonly dataFormat: number;
}

export interface TransferResponse {
  /** Longest TransferData request, service byte and block counter included. */
  readonly maxBlockLength: number;
}

function transferRequest(sid: number) {
  return serviceCodec<TransferRequest, TransferResponse>(sid, {
    writeRequest: (writer, { dataFormat, ...memory }) => {
      writer.u8(dataFormat, "data format identifier");
      writeMemory(writer, memory);
    },
    readRequest: (reader) => ({ dataFormat: reader.u8("data format identifier"), ...readMemory(reader) }),
    writeResponse: (writer, { maxBlockLength }) => {
      const width = widthOf(maxBlockLength);
      // lengthFormatIdentifier: the width in the high nibble (15.2.3.2).
      writer.u8(width << 4, "length format identifier").uint(maxBlockLength, width, "maxNumberOfBlockLength");
    },
    readResponse: (reader) => {
      const width = reader.u8("length format identifier") >> 4;
      return { maxBlockLength: readBlockLength(reader, width) };
    },
  });
}

/** 15.2 */
export const requestDownload = transferRequest(Sid.requestDownload);
/** 15.3 */
export const requestUpload = transferRequest(Sid.requestUpload);

/** 15.4, both ways: parameter record of a download's request, of an upload's response. */
export interface TransferBlock {
  readonly counter: number;
  readonly data: Uint8Array;
}

const block = {
  write: (writer: MessageWriter, { counter, data }: TransferBlock) =>
    void writer.u8(counter, "block sequence counter").bytes(data),
  read: (reader: MessageReader): TransferBlock => ({
    counter: reader.u8("block sequence counter"),
    data: reader.rest(),
  }),
};

export const transferData = serviceCodec<TransferBlock, TransferBlock>(Sid.transferData, {
  writeRequest: block.write,
  readRequest: block.read,
  writeResponse: block.write,
  readResponse: block.read,
});

/** 15.5 */
export const requestTransferExit = serviceCodec<{ data: Uint8Array }, { data: Uint8Array }>(
  Sid.requestTransferExit,
  {
    writeRequest: (writer, { data }) => writer.bytes(data),
    readRequest: (reader) => ({ data: reader.rest() }),
    writeResponse: (writer, { data }) => writer.bytes(data),
    readResponse: (reader) => ({ data: reader.rest() }),
  },
);

/** modeOfOperation, Annex G.1. */
export const FileMode = {
  add: 0x01,
  delete: 0x02,
  replace: 0x03,
  read: 0x04,
  readDirectory: 0x05,
  resume: 0x06,
} as const;

/** 15.6 */
export type FileRequest =
  & { readonly path: string }
  & (
    | { readonly mode: typeof FileMode.delete | typeof FileMode.readDirectory }
    | { readonly mode: typeof FileMode.read; readonly dataFormat: number }
    | {
      readonly mode: typeof FileMode.add | typeof FileMode.replace | typeof FileMode.resume;
      readonly dataFormat: number;
      /** Bytes of the file. */
      readonly size: number;
      /** Bytes that are transferred. */
      readonly compressedSize: number;
    }
  );

/** What stands behind the mode in an answer; fields as the mode has them. */
export interface FileResponse {
  readonly mode: number;
  /** Not with delete. */
  readonly maxBlockLength?: number;
  /** Not with delete. */
  readonly dataFormat?: number;
  /** Bytes of the file, or of the directory's information; with read and readDirectory. */
  readonly size?: number;
  /** Bytes that are transferred; with read. */
  readonly compressedSize?: number;
  /** First byte that the ECU does not have yet; with resume. */
  readonly position?: number;
}

export const requestFileTransfer = serviceCodec<FileRequest, FileResponse>(Sid.requestFileTransfer, {
  writeRequest: (writer, request) => {
    const path = encodePath(request.path);
    writer.u8(request.mode, "mode of operation").block(path, "filePathAndName");
    if (!("dataFormat" in request)) return;
    writer.u8(request.dataFormat, "data format identifier");
    if (!("size" in request)) return;
    const width = widthOf(Math.max(request.size, request.compressedSize));
    writer.u8(width, "file size parameter length").uint(request.size, width, "size")
      .uint(request.compressedSize, width, "compressed size");
  },
  readRequest: (reader) => {
    const mode = reader.u8("mode of operation");
    const path = Buffer.from(reader.block("filePathAndName")).toString("latin1");
    switch (mode) {
      case FileMode.delete:
      case FileMode.readDirectory:
        return { mode, path };
      case FileMode.read:
        return { mode, path, dataFormat: reader.u8("data format identifier") };
      case FileMode.add:
      case FileMode.replace:
      case FileMode.resume: {
        const dataFormat = reader.u8("data format identifier");
        const width = checkWidth(reader, reader.u8("file size parameter length"));
        const size = reader.uint(width, "fileSizeUnCompressed");
        return { mode, path, dataFormat, size, compressedSize: reader.uint(width, "fileSizeCompressed") };
      }
    }
    return reader.fail("mode of operation 0x01 … 0x06", `${mode}`);
  },
  writeResponse: (writer, response) => {
    const { mode, maxBlockLength = 0, dataFormat = 0, size = 0, compressedSize = 0, position = 0 } = response;
    writer.u8(mode, "mode of operation");
    if (mode === FileMode.delete) return;
    const width = widthOf(maxBlockLength);
    // Here lengthFormatIdentifier is the width itself, not a nibble (15.6.3.2).
    writer.u8(width, "length format identifier").uint(maxBlockLength, width, "maxNumberOfBlockLength");
    writer.u8(dataFormat, "data format identifier");
    if (mode === FileMode.read || mode === FileMode.readDirectory) {
      const sizeWidth = widthOf(Math.max(size, compressedSize));
      writer.u16(sizeWidth, "file size or directory information parameter length");
      writer.uint(size, sizeWidth, "size");
      if (mode === FileMode.read) writer.uint(compressedSize, sizeWidth, "compressed size");
    }
    // filePosition has eight bytes; a number of JavaScript holds six whole ones, and more bytes no file has.
    if (mode === FileMode.resume) writer.u16(0, "file position").uint(position, 6, "file position");
  },
  readResponse: (reader) => {
    const mode = reader.u8("mode of operation");
    if (mode === FileMode.delete) return { mode };
    const maxBlockLength = readBlockLength(reader, reader.u8("length format identifier"));
    const dataFormat = reader.u8("data format identifier");
    if (mode === FileMode.read || mode === FileMode.readDirectory) {
      const width = checkWidth(reader, reader.u16("file size or directory information parameter length"));
      const size = reader.uint(width, "fileSizeUncompressedOrDirInfoLength");
      if (mode === FileMode.readDirectory) return { mode, maxBlockLength, dataFormat, size };
      return {
        mode,
        maxBlockLength,
        dataFormat,
        size,
        compressedSize: reader.uint(width, "fileSizeCompressed"),
      };
    }
    if (mode !== FileMode.resume) return { mode, maxBlockLength, dataFormat };
    if (reader.u16("file position") !== 0) reader.fail("a file position below 2^48", "a larger one");
    return { mode, maxBlockLength, dataFormat, position: reader.uint(6, "file position") };
  },
});

/** 15.6.2.2: path and name are ASCII with the path's own separators; bytes of the ECU's code page pass as Latin-1. */
function encodePath(path: string): Uint8Array {
  const bytes = Buffer.from(path, "latin1");
  if (path.length === 0 || path.length > 0xffff || bytes.toString("latin1") !== path) {
    throw new RangeError(`path: expected 1 … 65535 Latin-1 characters, got ${JSON.stringify(path)}`);
  }
  return new Uint8Array(bytes);
}

/** Fewest whole bytes for a number, up to six. */
function widthOf(value: number): number {
  let width = 1;
  while (width < 6 && value >= 256 ** width) width++;
  return width;
}

function checkWidth(reader: MessageReader, width: number): number {
  if (width < 1 || width > 6) reader.fail("a size of 1 to 6 bytes", `${width}`);
  return width;
}

function readBlockLength(reader: MessageReader, width: number): number {
  const length = reader.uint(checkWidth(reader, width), "maxNumberOfBlockLength");
  // The service byte and the counter alone are 2 (15.2.3.2): a block carries at least 1 byte.
  if (length < 3) reader.fail("a block length of at least 3", `${length}`);
  return length;
}

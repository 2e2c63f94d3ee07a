// What every format of records gives: a line goes in, data goes to the payload, and at the end it says what else it saw.

/** What a format says beside the data. */
export interface RecordSummary {
  /** Where execution begins; CS:IP of 16-bit Intel HEX as the linear address 16 × CS + IP. */
  startAddress: number | undefined;
  /** Text of the S0 record. */
  header: string | undefined;
}

/** Reads the records of one file, line by line. */
export interface RecordReader {
  /** Longest line of the format in characters. */
  readonly maxLineLength: number;
  /** Takes one line that is not blank. @throws {FirmwareFormatError} */
  line(buffer: Uint8Array, start: number, end: number, line: number): void;
  /** Ends the file. @throws {FirmwareFormatError} Where something that must be there did not come. */
  finish(): RecordSummary;
}

/** Where a reader puts data. */
export interface DataSink {
  readonly buffer: Uint8Array;
  /** Makes room for `length` > 0 bytes at `address` and returns where in `buffer` they go. */
  reserve(address: number, length: number, line: number): number;
}

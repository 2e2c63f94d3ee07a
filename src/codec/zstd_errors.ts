// What can go wrong in the WebAssembly zstd.

/** What is the matter, for programs; the message is for people. */
export type ZstdErrorCode =
  /** The input is no Zstandard frame (RFC 8878), or a damaged one, or it goes on behind the frame's end. */
  | "bad_data"
  /** The input ends before its frame does. */
  | "truncated"
  /** The frame gives more than was allowed. */
  | "output_limit"
  /** The frame wants a larger window, which is memory, than was allowed. */
  | "window_limit"
  /** There is not so much memory. */
  | "no_memory"
  /** The code stopped in the middle of its work. */
  | "trap";

/** A stream that failed; nothing more can be done with it. */
export class ZstdError extends Error {
  override readonly name = "ZstdError";
  readonly code: ZstdErrorCode;

  constructor(code: ZstdErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

// What can go wrong with a trace.

/** The trace could not be begun: its file cannot be made. Later failures end the trace alone and are told by the log. */
export class TraceError extends Error {
  override readonly name = "TraceError";
}

// What the vehicle measures, read at an interval and handed on.

/** Where measured values come from: a real vehicle's signals, or a simulated bench's, told as such. */
export interface TelemetrySource {
  /** Where the values come from, for the log, e.g. `simulated vehicle`. */
  readonly name: string;
  /** The values now; numbers by name such as battery_soc, speed, temp. A value that is not there now is left out. */
  read(): Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;
}

// What can go wrong with a serial port. Each message says what to do about it.

/** Anything about a serial port. */
export class SerialError extends Error {
  override readonly name: string = "SerialError";
  /** The port as it was asked for: a device path or an address. */
  readonly port: string;
  constructor(port: string, message: string, options?: ErrorOptions) {
    super(`${port}: ${message}`, options);
    this.port = port;
  }
}

/** There is no such device, or nobody at the address. */
export class PortMissingError extends SerialError {
  override readonly name = "PortMissingError";
}

/** The user may not open it. */
export class PortPermissionError extends SerialError {
  override readonly name = "PortPermissionError";
}

/** Another program has it. */
export class PortBusyError extends SerialError {
  override readonly name = "PortBusyError";
}

/** The path leads to something that is no serial line. */
export class NotSerialError extends SerialError {
  override readonly name = "NotSerialError";
}

/** The driver does not know the settings, the bit rate as a rule. */
export class LineSettingsError extends SerialError {
  override readonly name = "LineSettingsError";
}

/** The adapter is gone: unplugged, or its program ended. */
export class UnpluggedError extends SerialError {
  override readonly name = "UnpluggedError";
}

/** A program that is needed is not installed. */
export class MissingToolError extends SerialError {
  override readonly name = "MissingToolError";
}

/** The port was closed while something was under way. `canceled` is what the serialport stream looks for. */
export class PortClosedError extends SerialError {
  override readonly name = "PortClosedError";
  readonly canceled = true;
}

/**
 * The error for what the operating system says, by its words: `stty` and `socat` (in the C locale) and Deno tell the
 * same ones.
 *
 * @param told e.g. `stty: /dev/ttyACM0: No such file or directory`
 */
export function errorOfSystem(port: string, told: string, cause?: unknown): SerialError {
  const text = told.trim();
  const options = cause === undefined ? undefined : { cause };
  if (/no such (?:file or directory|device\b(?! or address))|ENOENT|ENODEV/i.test(text)) {
    return new PortMissingError(
      port,
      "no such port; is the adapter plugged in? (zonebench adapters lists the ports there are)",
      options,
    );
  }
  if (/permission denied|operation not permitted|EACCES|EPERM/i.test(text)) {
    return new PortPermissionError(
      port,
      "permission denied; ports belong to the group dialout: sudo usermod -aG dialout $USER, then log in again",
      options,
    );
  }
  if (/resource (?:busy|temporarily unavailable)|EBUSY|EAGAIN|EWOULDBLOCK/i.test(text)) {
    return new PortBusyError(port, "in use by another program", options);
  }
  if (/inappropriate ioctl|not a tty|is a directory|ENOTTY|EISDIR/i.test(text)) {
    return new NotSerialError(port, "not a serial line", options);
  }
  if (/input\/output error|no such device or address|hung up|EIO\b|ENXIO/i.test(text)) {
    return new UnpluggedError(port, "the adapter is gone or does not react; unplugged?", options);
  }
  return new SerialError(port, text === "" ? "failed without saying why" : text, options);
}

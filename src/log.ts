// Log lines for people, `[2025-10-31 10:00:00] INFO - text`, or one JSON object a line for machines, on standard error.

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** A logger whose messages begin with `[prefix] `. */
  child(prefix: string): Logger;
}

export interface LogOptions {
  /** @default "text" */
  format?: "text" | "json";
  /** The least important level that is written. @default "info" */
  level?: LogLevel;
  /** Takes each line, without its end. @default standard error */
  write?: (line: string) => void;
  /** Colours the level. @default whether standard error is a terminal and NO_COLOR is not set */
  color?: boolean;
  /** @default the system's clock */
  now?: () => Date;
}

const colors: Record<LogLevel, string> = { debug: "90", info: "32", warn: "33", error: "31" };
const names: Record<LogLevel, string> = { debug: "DEBUG", info: "INFO", warn: "WARNING", error: "ERROR" };

const encoder = new TextEncoder();

/** Makes the program's logger. */
export function createLogger(options: LogOptions = {}): Logger {
  const format = options.format ?? "text";
  const threshold = logLevels.indexOf(options.level ?? "info");
  const write = options.write ?? writeToStandardError;
  const color = options.color ?? (Deno.stderr.isTerminal() && !Deno.noColor);
  const now = options.now ?? (() => new Date());

  const emit = (level: LogLevel, prefix: string, message: string, fields?: Record<string, unknown>) => {
    if (logLevels.indexOf(level) < threshold) return;
    const time = now();
    if (format === "json") {
      const text = prefix + message;
      write(JSON.stringify({ time: time.toISOString(), level, message: text, ...jsonFields(fields) }));
      return;
    }
    const name = color ? `\x1b[${colors[level]}m${names[level]}\x1b[0m` : names[level];
    // What came from outside must not forge lines or move the cursor.
    const text = (prefix + message + textFields(fields)).replaceAll(controls, escapeControl);
    write(`[${localTime(time)}] ${name} - ${text}`);
  };

  const at = (prefix: string): Logger => ({
    debug: (message, fields) => emit("debug", prefix, message, fields),
    info: (message, fields) => emit("info", prefix, message, fields),
    warn: (message, fields) => emit("warn", prefix, message, fields),
    error: (message, fields) => emit("error", prefix, message, fields),
    child: (name) => at(`${prefix}[${name}] `),
  });
  return at("");
}

/** A logger that writes nothing. */
export const silentLogger: Logger = createLogger({ write: () => {} });

/** The text of an error with its causes, for a log line. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  let at: unknown = error;
  for (let depth = 0; depth < 5 && at !== undefined && at !== null; depth++) {
    const text = at instanceof Error ? at.message || at.name : String(at);
    // Many errors quote their cause already.
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(": ");
}

// deno-lint-ignore no-control-regex -- control characters are what this looks for
const controls = /[\u0000-\u001f\u007f-\u009f]/g;

function escapeControl(character: string): string {
  if (character === "\n") return "\\n";
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

function writeToStandardError(line: string): void {
  const bytes = encoder.encode(line + "\n");
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    // Standard error is gone (a closed pipe): the program goes on without a log, it does not end over it.
  }
}

function localTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ` +
    `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

function textFields(fields: Record<string, unknown> | undefined): string {
  if (!fields) return "";
  const parts = Object.entries(fields).filter(([, value]) => value !== undefined).map(([key, value]) =>
    `${key}=${
      value instanceof Error
        ? describeError(value)
        : typeof value === "string"
        ? value
        : JSON.stringify(value)
    }`
  );
  return parts.length > 0 ? ` (${parts.join(", ")})` : "";
}

function jsonFields(fields: Record<string, unknown> | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields ?? {}).map((
      [key, value],
    ) => [key, value instanceof Error ? describeError(value) : value]),
  );
}

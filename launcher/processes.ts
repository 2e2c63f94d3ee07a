// Runs the programs that take part in a build, each with a limit.

/** A program could not be started, failed or took too long. */
export class ProcessError extends Error {
  override readonly name = "ProcessError";
}

export interface RunOptions {
  cwd?: string | URL;
  /** Replaces the whole environment. @default this program's */
  environment?: Record<string, string>;
  /** In ms. @default 900000 */
  limit?: number;
}

/**
 * Runs a program to its end.
 *
 * @returns what it wrote to standard output
 * @throws {ProcessError} with what it wrote to standard error
 */
export async function runProcess(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { cwd, environment, limit = 900_000 } = options;
  const signal = AbortSignal.timeout(limit);
  const decoder = new TextDecoder();
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, {
      args: [...args],
      cwd,
      env: environment,
      clearEnv: environment !== undefined,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal,
    }).output();
  } catch (cause) {
    throw new ProcessError(`${command} does not start: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  const text = decoder.decode(output.stdout);
  if (output.success) return text;
  const why = signal.aborted ? `took longer than ${limit} ms` : `exit code ${output.code}`;
  throw new ProcessError(
    `${command} ${args.slice(0, 3).join(" ")}: ${why}\n${text}${decoder.decode(output.stderr)}`.trimEnd(),
  );
}

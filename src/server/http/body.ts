// Reads a request's body, counting what comes and not what was promised.

import type { IncomingMessage } from "node:http";
import { JsonTextError, parseJson } from "../json_text.ts";
import { HttpProblem } from "./problem.ts";

export interface BodyLimits {
  /** Most bytes. */
  maxBytes: number;
  /** Longest pause between two parts, in milliseconds. */
  pause: number;
}

/** Refuses at once what is announced to be too long (RFC 9110 section 15.5.14). */
export function checkAnnouncedLength(incoming: IncomingMessage, maxBytes: number): void {
  const announced = Number(incoming.headers["content-length"] ?? 0);
  if (announced > maxBytes) throw tooLarge(maxBytes);
}

/**
 * The body's parts. The consumer's pace is the sender's pace.
 * @throws {HttpProblem} 413 above the limit, 408 after the pause, 400 when the sender goes away
 */
export async function* bodyParts(incoming: IncomingMessage, limits: BodyLimits): AsyncGenerator<Uint8Array> {
  const { maxBytes, pause } = limits;
  checkAnnouncedLength(incoming, maxBytes);
  let size = 0;
  // Destroying it would take the connection away before the answer is sent.
  const parts = incoming.iterator({ destroyOnReturn: false });
  for (;;) {
    const part = await within(parts.next(), pause);
    if (part.done) break;
    const bytes: unknown = part.value;
    if (!(bytes instanceof Uint8Array)) throw new TypeError("expected bytes from the connection");
    size += bytes.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    yield bytes;
  }
  if (!incoming.complete) {
    throw new HttpProblem(400, "the body ended early", { code: "body_cut", close: true });
  }
}

/** Reads a whole body of JSON. @throws {HttpProblem} 400 with the place where it breaks */
export async function readJson(incoming: IncomingMessage, limits: BodyLimits): Promise<unknown> {
  const parts: Uint8Array[] = [];
  for await (const part of bodyParts(incoming, limits)) parts.push(part);
  const bytes = parts.length === 1 ? parts[0] : concat(parts);
  if (bytes.length === 0) {
    throw new HttpProblem(400, "expected a JSON body, got none", { code: "body_missing" });
  }
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    throw new HttpProblem(400, `malformed JSON: ${error.message}`, { code: "malformed_json", cause: error });
  }
}

async function within<T>(next: Promise<T>, pause: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() =>
    reject(
      new HttpProblem(408, `no part of the body came within ${pause} ms`, {
        code: "body_timeout",
        close: true,
      }),
    ), pause);
  try {
    return await Promise.race([next, late]);
  } catch (error) {
    if (error instanceof HttpProblem) throw error;
    throw new HttpProblem(400, "the connection ended within the body", {
      code: "body_cut",
      close: true,
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

function tooLarge(maxBytes: number): HttpProblem {
  return new HttpProblem(413, `expected a body of at most ${maxBytes} bytes, got more`, {
    code: "body_too_large",
    close: true,
  });
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

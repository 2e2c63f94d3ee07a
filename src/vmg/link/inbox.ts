// What the server sends, by topic: checked, noted on disk, handed to whoever acts on it.

import { z } from "zod";
import { messageId } from "../../contract/identifiers.ts";
import {
  configMessage,
  type Control,
  control,
  fromServer,
  isDiagnosticRequest,
  parseTopic,
} from "../../contract/mqtt.ts";
import type { DiagnosticRequest } from "../../contract/diagnostics.ts";
import { describeIssues } from "../../contract/problem.ts";
import type { Logger } from "../../log.ts";
import type { CommandLog } from "../state/command_log.ts";

/** What tells which message it is. */
const identified = z.object({ message_id: messageId });

/** Largest message that is looked at, bytes. */
const maxMessage = 1024 * 1024;

/** Options of {@link Inbox}. */
export interface InboxOptions {
  vin: string;
  vmgId: string;
  commands: CommandLog;
  log: Logger;
  /** Takes a command over: called within the transaction that notes it; acts later. */
  onControl: (command: Control) => void;
  /** Takes a request over: as above; it must finish it in the command log. */
  onDiagnostic: (request: DiagnosticRequest) => void;
  onConfig: (version: number, config: Record<string, unknown>) => void;
}

/** The way in. */
export class Inbox {
  readonly #options: InboxOptions;
  readonly #log: Logger;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  /**
   * Takes a message. When this returns, what it asks for is on disk, or it asks for nothing: it may be acknowledged.
   * @returns the message_id of one that the server may be told to have been taken; it may have none
   * @throws when it could not be written down
   */
  take(topic: string, bytes: Uint8Array): string | undefined {
    const place = parseTopic(topic);
    const { vin, vmgId } = this.#options;
    if (place === undefined || (place.vehicle !== vin && place.vehicle !== vmgId)) {
      this.#log.warn(`Message on ${topic}, which is not this vehicle's: ignored`);
      return undefined;
    }
    const text = this.#text(topic, bytes);
    if (text === undefined) return undefined;
    const payload = this.#json(topic, text);
    switch (place.channel) {
      case "control":
        this.#control(topic, text, payload);
        break;
      case "diagnostics":
        // Both sides hear the topic: the gateway's own answers come back to it.
        if (!isDiagnosticRequest(payload)) return undefined;
        this.#diagnostic(topic, text, payload);
        break;
      case "config": {
        const parsed = this.#parse(configMessage, topic, payload);
        if (parsed !== undefined) this.#options.onConfig(parsed.version, parsed.config);
        break;
      }
      default:
        this.#log.debug(`Message on ${topic}: nothing that a vehicle acts on`);
        return undefined;
    }
    // One that does not fit the contract never will: it is taken for good as well.
    const known = identified.safeParse(payload);
    return known.success ? known.data.message_id : undefined;
  }

  #control(topic: string, text: string, payload: unknown): void {
    const command = this.#parse(control, topic, payload);
    if (command === undefined) return;
    const { commands, onControl } = this.#options;
    const { message_id } = command;
    const fresh = commands.transaction(() => {
      if (!commands.note(message_id, "control", text)) return false;
      onControl(command);
      commands.finish(message_id);
      return true;
    });
    this.#log.info(
      fresh
        ? `Received ${command.command} on ${topic}`
        : `Received ${command.command} ${message_id} again: it was acted on before`,
    );
  }

  #diagnostic(topic: string, text: string, payload: unknown): void {
    const request = this.#parse(fromServer.diagnostics, topic, payload);
    if (request === undefined) return;
    const { commands, onDiagnostic } = this.#options;
    const fresh = commands.transaction(() => {
      if (!commands.note(request.message_id, "diagnostics", text, request.request_id)) return false;
      onDiagnostic(request);
      return true;
    });
    this.#log.info(
      `Received diagnostic request ${request.request_id} for ${request.ecu_id}: ${request.service_id} ` +
        `${request.data}${fresh ? "" : "; it was taken before"}`,
    );
  }

  #text(topic: string, bytes: Uint8Array): string | undefined {
    if (bytes.length > maxMessage) {
      this.#log.warn(
        `Message on ${topic}: expected at most ${maxMessage} bytes, got ${bytes.length}: ignored`,
      );
      return undefined;
    }
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch (error) {
      this.#log.warn(`Message on ${topic}: expected UTF-8: ignored`, { error });
      return undefined;
    }
  }

  #json(topic: string, text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      // It can never succeed, so it is acknowledged: otherwise it would come again for ever.
      this.#log.warn(`Message on ${topic}: expected JSON: ignored`, { error });
      return undefined;
    }
  }

  #parse<T>(
    schema: { safeParse(value: unknown): { success: true; data: T } | { success: false; error: unknown } },
    topic: string,
    payload: unknown,
  ): T | undefined {
    // What is no JSON was reported already.
    if (payload === undefined) return undefined;
    const result = schema.safeParse(payload);
    if (result.success) return result.data;
    const places = isZodError(result.error)
      ? describeIssues(result.error).map(({ path, message }) => `${path}: ${message}`).join("; ")
      : String(result.error);
    this.#log.warn(`Message on ${topic} does not fit the contract: ${places}: ignored`);
    return undefined;
  }
}

function isZodError(error: unknown): error is Parameters<typeof describeIssues>[0] {
  return error instanceof Error && "issues" in error && Array.isArray(error.issues);
}

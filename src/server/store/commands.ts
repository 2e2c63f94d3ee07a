// Messages to vehicles: each stands here before it is sent, and stays until the vehicle has taken it, whichever way it went.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { ConflictError, InvalidArgumentError, NotFoundError } from "./errors.ts";
import { isUuid, MAX_PAGE, pageBounds, requireCount } from "./page.ts";

export interface CommandInput {
  /** Chosen by the caller, because it stands in the payload. */
  messageId: string;
  vin: string;
  topic: string;
  /** START_OTA_UPDATE, …, or what the message is otherwise (a diagnostic request). */
  command: string;
  payload: unknown;
  /** The update that it belongs to. */
  updateId?: string | null;
  /** How long it is worth delivering, in ms. */
  lifetime: number;
}

export interface Command {
  messageId: string;
  vin: string;
  topic: string;
  command: string;
  payload: unknown;
  updateId: string | null;
  created: Date;
  expires: Date;
  /** When it was first handed to a transport. */
  deliveredAt: Date | null;
  deliveredVia: "mqtt" | "polling" | null;
  ackedAt: Date | null;
  withdrawnAt: Date | null;
}

const COLUMNS =
  `message_id, vin, topic, command, payload, update_id, created, expires, delivered_at, delivered_via, acked_at,
  withdrawn_at`;

export class Commands {
  constructor(private readonly context: Context) {}

  /**
   * Enters a message.
   * @throws NotFoundError when the vehicle is unknown, ConflictError when the message_id is taken
   */
  async add(input: CommandInput): Promise<Command> {
    if (!isUuid(input.messageId)) throw new InvalidArgumentError("messageId", "a UUID", input.messageId);
    const created = this.context.now();
    const expires = new Date(created.getTime() + requireCount("lifetime", input.lifetime, 1));
    const { sql } = this.context;
    const [command] = await sql.query<Command>(
      `insert into commands (message_id, vin, topic, command, payload, update_id, created, expires)
       select $1, vin, $3, $4, $5, $6, $7, $8 from vehicles where vin = $2
       on conflict (message_id) do nothing returning ${COLUMNS}`,
      [
        input.messageId,
        input.vin,
        input.topic,
        input.command,
        json(input.payload),
        input.updateId ?? null,
        created,
        expires,
      ],
    );
    if (command) return command;
    if (await this.find(input.messageId)) {
      throw new ConflictError(`message ${input.messageId} is there already`, input.messageId);
    }
    throw new NotFoundError("vehicle", input.vin);
  }

  async find(messageId: string): Promise<Command | null> {
    if (!isUuid(messageId)) return null;
    const [command] = await this.context.sql.query<Command>(
      `select ${COLUMNS} from commands where message_id = $1`,
      [
        messageId,
      ],
    );
    return command ?? null;
  }

  /** What the vehicle has not acknowledged and what has neither expired nor been withdrawn, oldest first. */
  async pending(vin: string, limit: number = MAX_PAGE): Promise<Command[]> {
    return await this.context.sql.query<Command>(
      `select ${COLUMNS} from commands
       where vin = $1 and acked_at is null and withdrawn_at is null and expires > $2 order by seq limit $3`,
      [vin, this.context.now(), pageBounds({ limit }).limit],
    );
  }

  /** What was never handed to a transport, of all vehicles, oldest first: for a server that starts again. */
  async undelivered(limit: number = MAX_PAGE): Promise<Command[]> {
    return await this.context.sql.query<Command>(
      `select ${COLUMNS} from commands
       where delivered_at is null and acked_at is null and withdrawn_at is null and expires > $1 order by seq limit $2`,
      [this.context.now(), pageBounds({ limit }).limit],
    );
  }

  /** Notes the first delivery; a later one changes nothing. */
  async markDelivered(messageIds: readonly string[], via: "mqtt" | "polling"): Promise<void> {
    await this.context.sql.query(
      `update commands set delivered_at = $2, delivered_via = $3
       where message_id in (select jsonb_array_elements_text($1::jsonb)::uuid) and delivered_at is null`,
      [json(messageIds.filter(isUuid)), this.context.now(), via],
    );
  }

  /** The vehicle has taken the message. Repeating it changes nothing; another vehicle's message is unknown. */
  async acknowledge(
    vin: string,
    messageId: string,
  ): Promise<"acknowledged" | "already_acknowledged" | "unknown"> {
    if (!isUuid(messageId)) return "unknown";
    const [row] = await this.context.sql.query<{ before: Date | null }>(
      `with before as (select message_id, acked_at from commands where message_id = $1 and vin = $2 for update),
       put as (
         update commands c set acked_at = $3 from before b where c.message_id = b.message_id and b.acked_at is null
       )
       select acked_at as before from before`,
      [messageId, vin, this.context.now()],
    );
    if (row === undefined) return "unknown";
    return row.before === null ? "acknowledged" : "already_acknowledged";
  }

  /** Takes back what is not acknowledged yet of an update; gives the message_ids. */
  async withdraw(updateId: string): Promise<string[]> {
    const rows = await this.context.sql.query<{ messageId: string }>(
      `update commands set withdrawn_at = $2
       where update_id = $1 and acked_at is null and withdrawn_at is null returning message_id`,
      [updateId, this.context.now()],
    );
    return rows.map((row) => row.messageId);
  }
}

// Messages to vehicles: each stands here before it is sent, and stays until the vehicle has taken it, whichever way it went.
import type { Context } from "./context.ts";
import { atomically, json } from "./database.ts";
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

/** What shows that a vehicle has taken a command: a report on an update, an answer, a new report of its versions. */
export type Effect = { updateId: string } | { requestId: string } | { report: true };

/**
 * What is to be sent at $1, of the table `c`. A configuration that a newer one has taken the place of is not sent any more:
 * it would take that one's place at the broker.
 */
const SENDABLE = `c.acked_at is null and c.withdrawn_at is null and c.expires > $1
  and (c.next_delivery is null or c.next_delivery <= $1)
  and not (c.command = 'CONFIG' and exists (
    select from commands n where n.vin = c.vin and n.command = 'CONFIG' and n.seq > c.seq))`;

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

  /** Vehicles for which something is to be sent now, or again; again only to those that are online. */
  async dueVehicles(): Promise<string[]> {
    const rows = await this.context.sql.query<{ vin: string }>(
      `select distinct c.vin from commands c join vehicles v on v.vin = c.vin
       where ${SENDABLE} and (c.deliveries = 0 or v.status = 'online') limit ${MAX_PAGE}`,
      [this.context.now()],
    );
    return rows.map((row) => row.vin);
  }

  /**
   * Takes what is to be sent to a vehicle now, oldest first, and keeps it from other servers for `hold` ms. Nothing is given
   * while another one sends to that vehicle, so that the order is kept: that one goes on with what has been entered since.
   */
  async claim(vin: string, hold: number): Promise<Command[]> {
    const now = this.context.now();
    const until = new Date(now.getTime() + requireCount("hold", hold, 1));
    return await atomically(this.context.sql, async (tx) => {
      await tx.query("select 1 from vehicles where vin = $1 for no key update", [vin]);
      const [busy] = await tx.query(
        `select 1 from commands c where vin = $2 and acked_at is null and withdrawn_at is null and expires > $1
           and deliveries = 0 and next_delivery > $1 limit 1`,
        [now, vin],
      );
      if (busy) return [];
      const claimed = await tx.query<Command & { seq: number }>(
        `update commands set next_delivery = $3
         where seq in (select seq from commands c where vin = $2 and ${SENDABLE} order by seq limit 100)
         returning seq, ${COLUMNS}`,
        [now, vin, until],
      );
      return claimed.sort((a, b) => a.seq - b.seq).map(({ seq: _, ...command }) => command);
    });
  }

  /** What was claimed and not sent may be sent by anybody. */
  async unclaim(messageIds: readonly string[]): Promise<void> {
    await this.context.sql.query(
      `update commands set next_delivery = null
       where message_id in (select jsonb_array_elements_text($1::jsonb)::uuid) and deliveries = 0`,
      [json(messageIds.filter(isUuid))],
    );
  }

  /**
   * The broker has a message. Until the vehicle shows that it has it too, it is sent again after `again` ms, then after twice
   * that, up to five minutes.
   */
  async handedOver(messageId: string, again: number): Promise<void> {
    const now = this.context.now();
    await this.context.sql.query(
      `update commands set delivered_at = coalesce(delivered_at, $2), delivered_via = coalesce(delivered_via, 'mqtt'),
         deliveries = deliveries + 1,
         next_delivery = $2::timestamptz
           + least($3 * power(2, least(deliveries, 20)), 300000) * interval '1 millisecond'
       where message_id = $1`,
      [messageId, now, requireCount("again", again, 1)],
    );
  }

  /** The vehicle is back: what it has not shown to have is sent again after `wait` ms, which it has to show it. */
  async sendAgain(vin: string, wait: number): Promise<void> {
    const due = new Date(this.context.now().getTime() + requireCount("wait", wait));
    await this.context.sql.query(
      `update commands set next_delivery = $2
       where vin = $1 and acked_at is null and withdrawn_at is null and deliveries > 0 and next_delivery > $2`,
      [vin, due],
    );
  }

  /** The broker may have lost what it was given: what no vehicle has shown to have is sent again after `wait` ms. */
  async sendAllAgain(wait: number): Promise<void> {
    const due = new Date(this.context.now().getTime() + requireCount("wait", wait));
    await this.context.sql.query(
      `update commands set next_delivery = $1
       where acked_at is null and withdrawn_at is null and expires > $1 and deliveries > 0 and next_delivery > $1`,
      [due],
    );
  }

  /** What a vehicle did shows that it has these commands: they are acknowledged. Gives their message_ids. */
  async shown(vin: string, effect: Effect): Promise<string[]> {
    const [condition, value] = "updateId" in effect
      ? [`command = 'START_OTA_UPDATE' and update_id = $3`, effect.updateId]
      : "requestId" in effect
      ? [`command = 'DIAGNOSTIC' and payload ->> 'request_id' = $3`, effect.requestId]
      : [`command = $3 and delivered_at is not null`, "REPORT_VCI"];
    if ("updateId" in effect && !isUuid(effect.updateId)) return [];
    const rows = await this.context.sql.query<{ messageId: string }>(
      `update commands set acked_at = $2
       where vin = $1 and acked_at is null and withdrawn_at is null and ${condition} returning message_id`,
      [vin, this.context.now(), value],
    );
    return rows.map((row) => row.messageId);
  }
}

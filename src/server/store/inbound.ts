// Messages from vehicles: which were taken already, and which were refused and why.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { selectRows, Where } from "./page.ts";
import type { PageRequest } from "./page.ts";

/** How many refused messages are kept; the oldest go. */
const MAX_REJECTED = 10_000;
/** How much of a refused message is kept, in characters. */
const MAX_EXCERPT = 1024;
const MAX_REASON = 2000;

export interface InboundInput {
  messageId: string;
  topic: string;
}

export interface RejectedInput {
  /** Of whom it came from, where that is known. */
  vin: string | null;
  source: "mqtt" | "https";
  topic: string | null;
  reason: string;
  /** What came, as text. Only the beginning is kept. */
  payload: string;
}

export interface RejectedMessage {
  vin: string | null;
  source: "mqtt" | "https";
  topic: string | null;
  reason: string;
  excerpt: string;
  received: Date;
}

export class Inbound {
  constructor(private readonly context: Context) {}

  /**
   * Notes messages of a vehicle as taken and gives the ids that were new. Called in the transaction that stores what they
   * say, so that neither is there without the other.
   */
  async claim(vin: string, messages: readonly InboundInput[]): Promise<Set<string>> {
    if (messages.length === 0) return new Set();
    const rows = await this.context.sql.query<{ messageId: string }>(
      `insert into inbound_messages (vin, message_id, topic, received)
       select $1, t.message_id, t.topic, $3 from jsonb_to_recordset($2::jsonb) as t(message_id text, topic text)
       order by t.message_id
       on conflict (vin, message_id) do nothing returning message_id`,
      [
        vin,
        json(messages.map((message) => ({ message_id: message.messageId, topic: message.topic }))),
        this.context.now(),
      ],
    );
    return new Set(rows.map((row) => row.messageId));
  }

  /** Keeps a refused message for whoever looks for the cause; only the newest ten thousand stay. */
  async reject(message: RejectedInput): Promise<void> {
    await this.context.sql.query(
      `with kept as (
         insert into rejected_messages (vin, source, topic, reason, excerpt, received) values ($1, $2, $3, $4, $5, $6)
         returning seq
       ) delete from rejected_messages where seq <= (select seq from kept) - ${MAX_REJECTED}`,
      [
        message.vin,
        message.source,
        message.topic === null ? null : printable(message.topic, MAX_EXCERPT),
        printable(message.reason, MAX_REASON),
        printable(message.payload, MAX_EXCERPT),
        this.context.now(),
      ],
    );
  }

  /** Newest first. */
  async rejected(filter: PageRequest & { vin?: string } = {}): Promise<RejectedMessage[]> {
    const where = new Where().and("vin = ?", filter.vin);
    return await selectRows(
      this.context.sql,
      {
        columns: "vin, source, topic, reason, excerpt, received",
        from: "rejected_messages",
        where,
        order: "seq desc",
      },
      filter,
    );
  }
}

/** The beginning of a text from outside, as PostgreSQL can store it. */
function printable(text: string, length: number): string {
  return text.slice(0, length).replaceAll("\0", "\ufffd").toWellFormed();
}

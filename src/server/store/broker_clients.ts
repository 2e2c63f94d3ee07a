// Client ids at an external broker. Each stands for a session there, and one server at a time has it; the sessions of a
// server that is gone are taken over by the others. Times are the database's own, so that servers' clocks need not agree.
//
// A client id ends in random digits, for at a broker whoever knows one can take its session over.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { InvalidArgumentError } from "./errors.ts";
import { requireCount } from "./page.ts";

export interface BrokerClient {
  clientId: string;
  /** The shared subscription that its session has. */
  shareGroup: string;
}

/** Servers on one database, at most. */
const MOST_CLIENTS = 1000;

export class BrokerClients {
  constructor(private readonly context: Context) {}

  /** The name of the servers' shared subscription: `wanted` for the first server, which all others find. */
  async shareGroup(wanted: string): Promise<string> {
    await this.context.sql.query(
      "insert into broker_share (share_group) values ($1) on conflict (one) do nothing",
      [wanted],
    );
    const [{ shareGroup }] = await this.context.sql.query<{ shareGroup: string }>(
      "select share_group from broker_share",
    );
    return shareGroup;
  }

  /**
   * Takes a client id of a name that nobody holds, else a new one: `{name}-1-{random}`, `{name}-2-{random}`, …
   * @param holder a UUID of the server's own
   * @param lease ms for which it is held without being prolonged
   */
  async take(name: string, shareGroup: string, holder: string, lease: number): Promise<string> {
    requireCount("lease", lease, 1);
    const [free] = await this.context.sql.query<{ clientId: string }>(
      `update broker_clients set holder = $2, held_until = now() + $3 * interval '1 millisecond'
       where client_id = (
         select client_id from broker_clients
         where name = $4 and share_group = $1 and (holder is null or held_until < now())
         order by number limit 1 for update skip locked
       ) returning client_id`,
      [shareGroup, holder, lease, name],
    );
    if (free) return free.clientId;
    for (let number = 1; number <= MOST_CLIENTS; number++) {
      const clientId = `${name}-${number}-${this.context.newId().replaceAll("-", "")}`;
      const [made] = await this.context.sql.query<{ clientId: string }>(
        `insert into broker_clients (client_id, name, number, share_group, holder, held_until)
         values ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond')
         on conflict (name, number) do nothing returning client_id`,
        [clientId, name, number, shareGroup, holder, lease],
      );
      if (made) return made.clientId;
    }
    throw new InvalidArgumentError("name", `fewer than ${MOST_CLIENTS} servers`, name);
  }

  /** Takes a client id whose holder is gone, or has given it back, to end its session; null when there is none. */
  async takeAbandoned(holder: string, lease: number): Promise<BrokerClient | null> {
    requireCount("lease", lease, 1);
    const [found] = await this.context.sql.query<BrokerClient>(
      `update broker_clients set holder = $1, held_until = now() + $2 * interval '1 millisecond'
       where client_id = (
         select client_id from broker_clients where holder is null or held_until < now()
         order by client_id limit 1 for update skip locked
       ) returning client_id, share_group`,
      [holder, lease],
    );
    return found ?? null;
  }

  /** Prolongs those of these client ids that the server holds, and gives them; what is missing has become another's. */
  async prolong(clientIds: readonly string[], holder: string, lease: number): Promise<Set<string>> {
    requireCount("lease", lease, 1);
    const rows = await this.context.sql.query<{ clientId: string }>(
      `update broker_clients set held_until = now() + $2 * interval '1 millisecond'
       where holder = $1 and client_id in (select jsonb_array_elements_text($3::jsonb)) returning client_id`,
      [holder, lease, json(clientIds)],
    );
    return new Set(rows.map(({ clientId }) => clientId));
  }

  /** Gives a client id back. Its session stays at the broker, for whoever takes it next. */
  async release(clientId: string, holder: string): Promise<void> {
    await this.context.sql.query(
      "update broker_clients set holder = null, held_until = null where client_id = $1 and holder = $2",
      [clientId, holder],
    );
  }

  /** Its session has ended: the client id is forgotten. */
  async forget(clientId: string, holder: string): Promise<void> {
    await this.context.sql.query(
      "delete from broker_clients where client_id = $1 and holder = $2",
      [clientId, holder],
    );
  }
}

// Remote diagnosis: what was asked of an ECU and what came back, once.
import type { Context } from "./context.ts";
import { json } from "./database.ts";
import { NotFoundError } from "./errors.ts";
import { isUuid, requireCount, selectPage, Where } from "./page.ts";
import type { Page, PageRequest } from "./page.ts";

export type DiagnosticStatus = "pending" | "completed" | "failed" | "timeout";

export interface DiagnosticInput {
  /** Chosen by the caller when it stands in a message already; a new one otherwise. */
  requestId?: string;
  vin: string;
  zonalGatewayId?: string | null;
  ecuId: string;
  /** "0x22" */
  serviceId: string;
  /** Hexadecimal digits. */
  data: string;
  /** How long an answer is waited for, in ms. */
  timeout: number;
}

/** What the vehicle answered: a response, a negative response code, or why there is none. */
export interface DiagnosticAnswer {
  /** The whole answer with its service id, hexadecimal digits. */
  responseData?: string | null;
  /** "0x31" */
  nrc?: string | null;
  decoded?: unknown;
  error?: string | null;
}

export interface Diagnostic {
  requestId: string;
  vin: string;
  zonalGatewayId: string | null;
  ecuId: string;
  serviceId: string;
  data: string;
  status: DiagnosticStatus;
  responseData: string | null;
  nrc: string | null;
  decoded: unknown;
  error: string | null;
  created: Date;
  deadline: Date;
  answered: Date | null;
  /** An answer that came after the time-out: kept, but the status stays. */
  lateAnswer: DiagnosticAnswer | null;
  lateAt: Date | null;
}

export interface DiagnosticFilter extends PageRequest {
  vin?: string;
  ecuId?: string;
  status?: DiagnosticStatus;
}

/**
 * What an answer did. `answered`: it is the result; `late`: the time-out came first, the answer is kept beside it;
 * `duplicate`: there was an answer, nothing changed; `unknown`: this vehicle was not asked that.
 */
export type AnswerOutcome = "answered" | "late" | "duplicate" | "unknown";

const COLUMNS =
  `request_id, vin, zonal_gateway_id, ecu_id, service_id, data, status, response_data, nrc, decoded, error,
  created, deadline, answered, late_answer, late_at`;

export class Diagnostics {
  constructor(private readonly context: Context) {}

  /** Enters a request as "pending". @throws NotFoundError when the vehicle is unknown */
  async create(input: DiagnosticInput): Promise<Diagnostic> {
    const created = this.context.now();
    const deadline = new Date(created.getTime() + requireCount("timeout", input.timeout, 1));
    const [request] = await this.context.sql.query<Diagnostic>(
      `insert into diagnostics (request_id, vin, zonal_gateway_id, ecu_id, service_id, data, status, created, deadline)
       select $1, vin, $3, $4, $5, $6, 'pending', $7, $8 from vehicles where vin = $2 returning ${COLUMNS}`,
      [
        input.requestId ?? this.context.newId(),
        input.vin,
        input.zonalGatewayId ?? null,
        input.ecuId,
        input.serviceId,
        input.data,
        created,
        deadline,
      ],
    );
    if (request === undefined) throw new NotFoundError("vehicle", input.vin);
    return request;
  }

  async find(requestId: string): Promise<Diagnostic | null> {
    if (!isUuid(requestId)) return null;
    const [request] = await this.context.sql.query<Diagnostic>(
      `select ${COLUMNS} from diagnostics where request_id = $1`,
      [requestId],
    );
    return request ?? null;
  }

  /** Newest first. */
  async list(filter: DiagnosticFilter = {}): Promise<Page<Diagnostic>> {
    const where = new Where().and("vin = ?", filter.vin).and("ecu_id = ?", filter.ecuId)
      .and("status = ?", filter.status);
    return await selectPage(
      this.context.sql,
      { columns: COLUMNS, from: "diagnostics", where, order: "seq desc" },
      filter,
    );
  }

  /**
   * Stores the answer of the vehicle that was asked: completed when it has response_data and no nrc or error, else failed.
   * The first answer counts.
   */
  async answer(vin: string, requestId: string, answer: DiagnosticAnswer): Promise<AnswerOutcome> {
    if (!isUuid(requestId)) return "unknown";
    const { responseData = null, nrc = null, error = null, decoded = null } = answer;
    const now = this.context.now();
    const completed = responseData !== null && nrc === null && error === null;
    const [row] = await this.context.sql.query<{ outcome: AnswerOutcome }>(
      `with before as (
         select request_id, status, late_at from diagnostics where request_id = $1 and vin = $2 for update
       ), first as (
         update diagnostics d set status = $3, response_data = $4, nrc = $5, decoded = $6, error = $7, answered = $8
         from before b where d.request_id = b.request_id and b.status = 'pending'
       ), late as (
         update diagnostics d set late_answer = $9, late_at = $8
         from before b where d.request_id = b.request_id and b.status = 'timeout' and b.late_at is null
       )
       select case when status = 'pending' then 'answered' when status = 'timeout' and late_at is null then 'late'
         else 'duplicate' end as outcome from before`,
      [
        requestId,
        vin,
        completed ? "completed" : "failed",
        responseData,
        nrc,
        decoded === null ? null : json(decoded),
        error,
        now,
        json({ responseData, nrc, decoded, error }),
      ],
    );
    return row?.outcome ?? "unknown";
  }

  /** Ends a request that cannot be sent. False when it is not pending (any more). */
  async fail(requestId: string, error: string): Promise<boolean> {
    if (!isUuid(requestId)) return false;
    const rows = await this.context.sql.query(
      `update diagnostics set status = 'failed', error = $2, answered = $3
       where request_id = $1 and status = 'pending' returning seq`,
      [requestId, error, this.context.now()],
    );
    return rows.length > 0;
  }

  /** Ends with "timeout" whatever is past its deadline (at most 1000 a call), and gives it. */
  async expire(): Promise<Diagnostic[]> {
    return await this.context.sql.query<Diagnostic>(
      `update diagnostics set status = 'timeout'
       where request_id in (
         select request_id from diagnostics where status = 'pending' and deadline <= $1
         order by deadline limit 1000 for update skip locked
       ) returning ${COLUMNS}`,
      [this.context.now()],
    );
  }
}

// TLS 1.3's record layer (RFC 8446 section 5) over a TCP connection, written from the RFC, which may send what is not allowed.

import { createCipheriv, createDecipheriv } from "node:crypto";
import { type TrafficKey, trafficKey } from "./key_schedule.ts";

/** ContentType (RFC 8446 section 5.1). */
export const contentType = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const;

/** A record, without its protection. */
export interface Record {
  readonly type: number;
  readonly fragment: Uint8Array<ArrayBuffer>;
}

const headerLength = 5;
const tagLength = 16;

/** The header of a record, which is also what protection authenticates. */
function header(type: number, length: number, version = 0x0303): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(type, version >> 8, version & 0xff, length >> 8, length & 0xff);
}

/** One direction's protection with AES-128-GCM (RFC 8446 section 5.2). */
export class Protection {
  readonly #key: TrafficKey;
  #sequence = 0;

  constructor(readonly secret: Uint8Array<ArrayBuffer>) {
    this.#key = trafficKey(secret);
  }

  #nonce(): Uint8Array {
    const nonce = this.#key.iv.slice();
    // The sequence number is 64 bits; no test comes to more than 32.
    const view = new DataView(nonce.buffer, nonce.length - 4);
    view.setUint32(0, view.getUint32(0) ^ this.#sequence++);
    return nonce;
  }

  /** The whole record; `padding` zeros go after the content type. */
  seal(type: number, fragment: Uint8Array, padding = 0): Uint8Array<ArrayBuffer> {
    const inner = Uint8Array.of(...fragment, type, ...new Uint8Array(padding));
    const head = header(contentType.applicationData, inner.length + tagLength);
    const cipher = createCipheriv("aes-128-gcm", this.#key.key, this.#nonce()).setAAD(head);
    const parts = [head, cipher.update(inner), cipher.final(), cipher.getAuthTag()];
    return Uint8Array.from(parts.flatMap((part) => [...part]));
  }

  open(record: Uint8Array): Record {
    const decipher = createDecipheriv("aes-128-gcm", this.#key.key, this.#nonce())
      .setAAD(record.subarray(0, headerLength)).setAuthTag(record.subarray(-tagLength));
    const inner = new Uint8Array(decipher.update(record.subarray(headerLength, -tagLength)));
    decipher.final();
    const end = inner.findLastIndex((byte) => byte !== 0);
    return { type: inner[end], fragment: inner.slice(0, end) };
  }
}

/** Records both ways. What is sent and what has come are kept as they were on the wire. */
export class Records {
  readonly sent: Uint8Array[] = [];
  reading: Protection | undefined;
  writing: Protection | undefined;
  readonly #conn: Deno.TcpConn;
  #input = new Uint8Array();

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Bytes as they are. */
  async send(bytes: Uint8Array): Promise<void> {
    this.sent.push(bytes);
    for (let sent = 0; sent < bytes.length;) sent += await this.#conn.write(bytes.subarray(sent));
  }

  /** A record, protected once there are keys. */
  async write(type: number, fragment: Uint8Array): Promise<void> {
    await this.send(this.sealed(type, fragment));
  }

  /** A record as {@link write} sends it. */
  sealed(type: number, fragment: Uint8Array, padding = 0): Uint8Array<ArrayBuffer> {
    return this.writing === undefined
      ? Uint8Array.of(...header(type, fragment.length), ...fragment)
      : this.writing.seal(type, fragment, padding);
  }

  /** The next record; undefined at the end of the connection. */
  async read(): Promise<Record | undefined> {
    if (!await this.#have(headerLength)) return undefined;
    const length = headerLength + (this.#input[3] << 8) + this.#input[4];
    if (!await this.#have(length)) return undefined;
    const record = this.#input.slice(0, length);
    this.#input = this.#input.slice(length);
    // Who fails early says so in the clear, whatever keys there are by now; change_cipher_spec always is.
    return this.reading === undefined || record[0] !== contentType.applicationData
      ? { type: record[0], fragment: record.slice(headerLength) }
      : this.reading.open(record);
  }

  async #have(length: number): Promise<boolean> {
    const buffer = new Uint8Array(65_536);
    while (this.#input.length < length) {
      let count: number | null;
      try {
        count = await this.#conn.read(buffer);
      } catch (error) {
        if (error instanceof Deno.errors.ConnectionReset) return false;
        throw error;
      }
      if (count === null) return false;
      this.#input = Uint8Array.of(...this.#input, ...buffer.subarray(0, count));
    }
    return true;
  }

  /** Ends the own direction of the TCP connection, without a word. */
  async cut(): Promise<void> {
    await this.#conn.closeWrite();
  }

  close(): void {
    this.#conn.close();
  }
}

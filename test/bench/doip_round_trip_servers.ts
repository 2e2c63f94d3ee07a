// The other end of the DoIP bench: an entity with one ECU that answers each TransferData, and a bare socket server
// that moves the same number of bytes.

import { DoipEntity } from "../../hardware/doip/server.ts";

/** The two servers. */
export interface BenchServers {
  entity: number;
  raw: number;
  close(): Promise<void>;
}

/** Bytes that come back for a request over DoIP: acknowledgement (13) and a two-byte answer (14). */
const answerLength = 27;

/** Starts both on free ports of 127.0.31.10. */
export async function startServers(): Promise<BenchServers> {
  const response = Uint8Array.of(0x76, 0x00);
  const entity = await DoipEntity.listen({
    hostname: "127.0.31.10",
    port: 0,
    udpPort: false,
    vin: "WDB1234567F890123",
    logicalAddress: 0x1000,
    eid: Uint8Array.of(2, 0, 0, 0, 0, 1),
    gid: Uint8Array.of(2, 0, 0, 0, 0, 1),
    nodes: new Map([[0x1001, {
      handle(request: Uint8Array, _context: unknown, respond: (response: Uint8Array) => void): void {
        response[1] = request[1];
        respond(response);
      },
    }]]),
  });
  const listener = Deno.listen({ hostname: "127.0.31.10", port: 0 });
  const accepting = (async () => {
    for await (const connection of listener) answer(connection);
  })();
  return {
    entity: entity.port,
    raw: listener.addr.port,
    async close() {
      listener.close();
      await Promise.all([accepting, entity.close()]);
    },
  };
}

/** The first four bytes on a connection say how long a request is; each is answered when it is complete. */
async function answer(connection: Deno.TcpConn): Promise<void> {
  connection.setNoDelay(true);
  const buffer = new Uint8Array(131_072);
  await connection.read(buffer);
  const length = new DataView(buffer.buffer).getUint32(0);
  const bytes = new Uint8Array(answerLength);
  await connection.write(bytes.subarray(0, 1));
  let arrived = 0;
  for (let read = await connection.read(buffer); read !== null; read = await connection.read(buffer)) {
    arrived += read;
    if (arrived < length) continue;
    arrived -= length;
    await connection.write(bytes);
  }
  connection.close();
}

// The other end of the flash bench: a simulated gateway with an ECU whose flash takes no time, and a bare socket server
// that moves the same number of bytes.
import { SimulatedBench } from "../../hardware/sim/bench.ts";

/** Where the two servers listen. */
export interface Ports {
  gateway: number;
  raw: number;
}

const hostname = "127.0.32.10";
/** Bytes that come back for a request over DoIP: acknowledgement (13) and a two-byte answer (14). */
const answerLength = 27;

/** Starts both; they end with the thread or the program. */
export async function startServers(): Promise<Ports> {
  const bench = await SimulatedBench.start({
    timing: "none",
    gateways: [{
      zonalGatewayId: "ZG_BENCH",
      hostname,
      port: 0,
      logicalAddress: 0x1000,
      vin: "KMHBENCH000000001",
      ecus: [
        ecu("ECU_001", 0x1001, 4_095),
        ecu("ECU_002", 0x1002, 0x1_0002),
      ],
    }],
  });
  const listener = Deno.listen({ hostname, port: 0 });
  void serve(listener);
  return { gateway: bench.gateways[0].port, raw: listener.addr.port };
}

async function serve(listener: Deno.TcpListener): Promise<void> {
  for await (const connection of listener) void answer(connection);
}

function ecu(ecuId: string, logicalAddress: number, maxBlockLength: number) {
  return {
    ecuId,
    logicalAddress,
    maxBlockLength,
    ecuType: "BENCH",
    hwVersion: "H1",
    swVersion: "1.0.0",
    serialNumber: "1",
    partNumber: "1",
    supplier: "1",
    memory: [{ name: "main", address: 0, size: 32 << 20 }],
    securityAccess: { seedKey: { algorithm: "xor", constant: "A5" } as const },
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
    for (arrived += read; arrived >= length; arrived -= length) await connection.write(bytes);
  }
  connection.close();
}

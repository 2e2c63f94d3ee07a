// DoIP over TLS for the simulated gateways: each listens on a port of its own with a certificate of the bench's authority.

import type { SimulatedBench } from "../../hardware/sim/bench.ts";
import type { BusTrace } from "../../hardware/trace/trace.ts";
import type { Config } from "../config/schema.ts";
import { describeError, type Logger } from "../log.ts";
import { issueGateway } from "../pqc/authority.ts";
import { loadCredentials } from "../pqc/pki_directory.ts";
import { profileById } from "../pqc/profiles.ts";
import { byteStreamOf } from "../tls/byte_stream.ts";
import { listen } from "../tls/listen.ts";
import { placeGateways } from "./bench_description.ts";
import { clientProfile } from "./tls.ts";

/** Opens the TLS listeners of all simulated gateways that have one. Closing it ends the listeners, not the connections. */
export async function serveGatewayTls(
  bench: SimulatedBench,
  config: Config,
  pki: string,
  log: Logger,
  trace?: BusTrace,
): Promise<AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  for (const { zonalGatewayId, hostname, tls } of placeGateways(config.bench)) {
    const gateway = bench.gateways.find((it) => it.zonalGatewayId === zonalGatewayId);
    if (tls === undefined || hostname === undefined || gateway === undefined) continue;
    const profile = tls.profile === undefined ? clientProfile(config) : profileById(tls.profile);
    const { name, issued, certificateFile } = await issueGateway(zonalGatewayId, {
      directory: pki,
      names: [tls.server_name ?? hostname],
      algorithm: profile.certificateAlgorithm,
    });
    if (issued) log.info(`Certificate issued: ${certificateFile}`);
    const { certificateChain, privateKey, trust } = await loadCredentials(pki, name);
    const network = trace?.network(zonalGatewayId);
    const listener = await listen({
      hostname,
      port: tls.port,
      offers: [{ profile, credentials: { certificateChain, privateKey } }],
      trust,
      engine: config.tls.engine,
      tap: network === undefined ? undefined : (local, remote) => network.connection(local, remote, "peer"),
      onConnection: ({ stream, peer, remoteAddress, remotePort }) =>
        gateway.accept(byteStreamOf(stream), {
          name: `DoIP tester ${peer.commonName} ${remoteAddress}:${remotePort}`,
          secure: true,
        }),
      onRefused: (error) => log.warn(`[BENCH] ${zonalGatewayId}: ${describeError(error)}`),
    });
    opened.defer(() => listener.close());
  }
  return opened.move();
}

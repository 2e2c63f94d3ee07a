// The ways to the zonal gateways of bench.yaml, as the vehicle's gateway and the commands use them: plain or TLS, at an
// address or looked for, recorded or not.

import { locate } from "../../hardware/doip/locate.ts";
import type { BusTrace } from "../../hardware/trace/trace.ts";
import type { Config } from "../config/schema.ts";
import { profileById } from "../pqc/profiles.ts";
import { byteStreamOf } from "../tls/byte_stream.ts";
import { connect } from "../tls/connect.ts";
import type { ZonalGateway } from "../vmg/vehicle.ts";
import type { PlacedGateway } from "./bench_description.ts";
import { type CommonOptions, configOf, foldersOf } from "./common.ts";
import { clientCredentials, clientProfile } from "./tls.ts";
import { openTrace, type TraceOptions } from "./trace.ts";

/** What the ways need besides the bench file. */
export interface BenchWiring {
  config: Config;
  /** Folder of certificates and keys. */
  pki: string;
  /** Whose certificate is shown to gateways over TLS, e.g. `operator bench`. */
  holder: string;
  trace?: BusTrace;
}

/** The wiring of a command, with the trace that it was asked for; the trace ends with it. */
export async function openWiring(
  options: CommonOptions & TraceOptions & { operator?: string },
): Promise<BenchWiring & AsyncDisposable> {
  const config = await configOf(options);
  const trace = await openTrace(options);
  return {
    config,
    pki: foldersOf(options.data).pki,
    holder: `operator ${options.operator ?? "bench"}`,
    trace: trace?.bus,
    [Symbol.asyncDispose]: async () => await trace?.[Symbol.asyncDispose](),
  };
}

/** Port of DoIP over TCP and UDP (ISO 13400-2:2019, Tables 39 and 41). */
const doipPort = 13_400;

/** The way to one gateway. */
export function gatewayLink(placed: PlacedGateway, wiring: BenchWiring): ZonalGateway {
  const { zonalGatewayId, logicalAddress, hostname, port, tls } = placed;
  const tap = wiring.trace?.network(zonalGatewayId);
  const common = {
    zonalGatewayId,
    logicalAddress,
    tap,
    ...tls === undefined ? {} : { openStream: tlsOpener(placed, tls, wiring) },
  };
  if (hostname !== undefined) return { ...common, hostname, port: tls?.port ?? port };
  const { address, targets } = wiring.config.bench.discovery;
  return {
    ...common,
    hostname: undefined,
    locate: async (signal) => {
      const found = await locate(
        {
          vin: placed.vehicle.vin,
          logicalAddress,
          eid: placed.eid === undefined ? undefined : Uint8Array.fromHex(placed.eid),
        },
        {
          targets: targets.map((target) => ({ hostname: target, port: placed.port })),
          localAddress: address,
          tap,
          signal,
        },
      );
      // The port of TCP is the one of UDP unless the bench file says otherwise.
      return { hostname: found.address, port: placed.port === doipPort ? found.port : placed.port };
    },
  };
}

/** Opens DoIP over TLS (ISO 13400-2:2019, clause 9.3), with the certificate of the wiring's holder. */
function tlsOpener(
  { zonalGatewayId }: PlacedGateway,
  tls: NonNullable<PlacedGateway["tls"]>,
  { config, pki, holder, trace }: BenchWiring,
): NonNullable<ZonalGateway["openStream"]> {
  const profile = tls.profile === undefined ? clientProfile(config) : profileById(tls.profile);
  const network = trace?.network(zonalGatewayId);
  return async (hostname, signal) => {
    const { certificateChain, privateKey, trust } = await clientCredentials(pki, holder, profile);
    const { stream } = await connect({
      hostname,
      port: tls.port,
      serverName: tls.server_name,
      credentials: { certificateChain, privateKey },
      profile,
      trust: tls.trust === undefined ? trust : await Deno.readTextFile(tls.trust),
      engine: config.tls.engine,
      tap: network === undefined ? undefined : (local, remote) => network.connection(local, remote, "us"),
      signal,
    });
    return byteStreamOf(stream);
  };
}

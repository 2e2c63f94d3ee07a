// A simulated zonal gateway: a DoIP entity with its ECUs behind it.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type ByteStream, closeQuietly } from "../byte_stream.ts";
import { DoipEntity } from "../doip/server.ts";
import type { NetworkTap } from "../trace/tap.ts";
import type { DiagnosticEndpoint } from "../uds/transport.ts";
import { SimulatedEcu } from "./ecu.ts";
import { withPlace } from "./listen_failure.ts";
import type { SimulatedGatewayOptions, SimulatedTiming } from "./options.ts";

/** What all gateways of a bench share. */
export interface GatewaySurroundings {
  timing: SimulatedTiming;
  /** Folder in which each ECU has its own. */
  directory: string | undefined;
  log: (message: string) => void;
  /** Records what a gateway's own listeners receive and send. */
  tap?: (zonalGatewayId: string) => NetworkTap;
  /** Breaks the connection to an ECU that is not behind the gateway itself, for the fault of that name. */
  breakCan: (adapterId: string) => void;
}

// ISO 13400-2: E400–EFFF are functional addresses; the first one reaches every ECU of a gateway.
const allEcus = 0xe400;
const doipPort = 13_400;
// Routing activation types of ISO 13400-2:2019, Table 47: default and WWH-OBD.
const activations = [0x00, 0x01];
// Diagnostic message NACK of ISO 13400-2 for an ECU that has no power.
const targetUnreachable = 0x06;

/** One gateway of a simulated bench. */
export class SimulatedGateway {
  readonly options: SimulatedGatewayOptions;
  readonly ecus: readonly SimulatedEcu[];
  readonly #log: (message: string) => void;
  readonly #tap: NetworkTap | undefined;
  #entity: DoipEntity | undefined;
  #port: number;
  #restarting: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: SimulatedGatewayOptions, surroundings: GatewaySurroundings) {
    this.options = options;
    this.#log = surroundings.log;
    this.#tap = surroundings.tap?.(options.zonalGatewayId);
    this.#port = options.port ?? doipPort;
    this.ecus = options.ecus.map((ecu) =>
      new SimulatedEcu(ecu, {
        vin: options.vin,
        timing: surroundings.timing,
        directory: surroundings.directory === undefined
          ? undefined
          : `${surroundings.directory}/${ecu.ecuId}`,
        keyFile: surroundings.directory === undefined
          ? undefined
          : `${surroundings.directory}/keys/${ecu.ecuId}.key`,
        closeConnection: (tester) =>
          ecu.can === undefined
            ? void this.#entity?.disconnect(tester)
            : surroundings.breakCan(ecu.can.adapterId),
        log: surroundings.log,
      })
    );
  }

  /** Powers the ECUs on and listens once they have booted. */
  static async start(
    options: SimulatedGatewayOptions,
    surroundings: GatewaySurroundings,
  ): Promise<SimulatedGateway> {
    const gateway = new SimulatedGateway(options, surroundings);
    try {
      await Promise.all(gateway.ecus.map((ecu) => ecu.powerOn()));
      await gateway.#listen();
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return gateway;
  }

  get zonalGatewayId(): string {
    return this.options.zonalGatewayId;
  }

  get hostname(): string {
    return this.options.hostname;
  }

  get logicalAddress(): number {
    return this.options.logicalAddress;
  }

  /** TCP and UDP port. */
  get port(): number {
    return this.#port;
  }

  /** Closes all connections and listens again, as a gateway does that restarts. The ECUs keep their power. */
  restart(): Promise<void> {
    this.#restarting = this.#restarting.then(async () => {
      if (this.#closed) return;
      this.#log(`${this.zonalGatewayId}: restarts`);
      await this.#entity?.close();
      await this.#listen();
    }).catch((error) => {
      // Nobody waits for a fault; the gateway stays away and testers meet that.
      this.#log(
        `${this.zonalGatewayId}: did not come back: ${error instanceof Error ? error.message : error}`,
      );
    });
    return this.#restarting;
  }

  /** Serves a tester's connection that was accepted elsewhere, over TLS for instance. It counts like the gateway's own. */
  accept(stream: ByteStream, peer: { name: string; secure: boolean }): void {
    if (this.#entity === undefined || this.#closed) closeQuietly(stream);
    else this.#entity.accept(stream, peer);
  }

  /** Stops listening, closes connections, switches the ECUs off. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#restarting;
    await this.#entity?.close();
    for (const ecu of this.ecus) ecu.close();
  }

  async #listen(): Promise<void> {
    const { options } = this;
    // ECUs on CAN are reached through their adapter alone.
    const ecus = this.ecus.filter((ecu) => ecu.options.can === undefined);
    const longestBlock = Math.max(0, ...options.ecus.map((ecu) => ecu.maxBlockLength ?? 0));
    this.#entity = await DoipEntity.listen({
      hostname: options.hostname,
      port: this.#port,
      vin: options.vin,
      logicalAddress: options.logicalAddress,
      eid: identification(options.eid, `${options.zonalGatewayId} eid`, options.zonalGatewayId),
      gid: identification(options.gid, `${options.zonalGatewayId} gid`, options.vin),
      nodes: new Map(ecus.map((ecu): [number, DiagnosticEndpoint] => [ecu.logicalAddress, ecu])),
      functional: new Map([[allEcus, ecus.map((ecu) => ecu.logicalAddress)]]),
      // Without TLS every routing activation is denied with code 0x07 (ISO 13400-2:2019, Table 49). The further action
      // 0x10 of an announcement (Table 6) stands for central security alone, and is none of that.
      activation: { types: activations, tlsTypes: options.tlsRequired ? activations : [] },
      tap: this.#tap,
      maxDataSize: Math.max(1 << 20, longestBlock + 64),
      admit: (target) => {
        const ecu = ecus.find(({ logicalAddress }) => logicalAddress === target);
        return ecu?.state === "off" ? targetUnreachable : undefined;
      },
      warn: this.#log,
    }).catch((cause) => {
      throw withPlace(cause, `${options.zonalGatewayId} at ${options.hostname}:${this.#port}`);
    });
    this.#port = this.#entity.port;
  }
}

/** Six bytes as given, or a locally administered address that follows from a name. */
function identification(given: string | undefined, what: string, name: string): Uint8Array {
  if (given === undefined) {
    const digest = createHash("sha256").update(name).digest();
    return Uint8Array.of(0x02, ...digest.subarray(0, 5));
  }
  if (!/^[0-9a-fA-F]{12}$/.test(given)) {
    throw new RangeError(`${what}: expected 12 hexadecimal digits, got ${JSON.stringify(given)}`);
  }
  return new Uint8Array(Buffer.from(given, "hex"));
}

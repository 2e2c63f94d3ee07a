// What mosquitto needs to do the embedded broker's checks: access rules (mosquitto.conf(5), acl_file) and settings.

import { vehicleChannels, vehicleClientId } from "../contract/mqtt.ts";

/** The two names of a vehicle. */
export interface AclVehicle {
  readonly vin: string;
  readonly vmg_id: string;
}

/**
 * The access rules. A vehicle reads what is below its own two names and writes on its own channels; servers read those and
 * write on the others. Users are the common names of certificates.
 *
 * @throws {RangeError} when a name would open one vehicle's topics to another, or cannot stand in the file.
 */
export function aclFile(vehicles: readonly AclVehicle[], servers: readonly string[]): string {
  const owners = new Map<string, string>();
  const lines = [
    "# Access rules of Zonebench for mosquitto, written by: zonebench mqtt acl",
    "# Users are the common names of client certificates (use_identity_as_username true). What no rule allows is refused.",
  ];
  for (const server of servers) {
    // A line is `user NAME`: whatever else stood in it would be another rule.
    // deno-lint-ignore no-control-regex -- control characters are what this refuses
    if (!/^[^\u0000-\u0020\u007f#+/]{1,64}$/.test(server) || server.startsWith("vehicle-")) {
      throw new RangeError(
        `server user: expected 1 to 64 characters without space, '#', '+', '/', not beginning with vehicle-, got ` +
          JSON.stringify(server),
      );
    }
    lines.push("", `user ${server}`);
    for (const channel of vehicleChannels) lines.push(`topic read vehicle/+/${channel}`);
    for (const channel of ["control", "diagnostics", "config", "stored"]) {
      lines.push(`topic write vehicle/+/${channel}`);
    }
    lines.push("topic readwrite zonebench/servers/#");
  }
  for (const { vin, vmg_id } of vehicles) {
    const names = new Set([vin, vmg_id]);
    for (const name of names) {
      const owner = owners.get(name);
      if (owner !== undefined) {
        throw new RangeError(
          `${name} is a name of vehicle ${owner} and of vehicle ${vin}: it can be of one alone`,
        );
      }
      owners.set(name, vin);
    }
    lines.push("", `user ${vehicleClientId(vin)}`);
    for (const name of names) {
      lines.push(`topic read vehicle/${name}/#`);
      for (const channel of vehicleChannels) lines.push(`topic write vehicle/${name}/${channel}`);
    }
  }
  return lines.join("\n") + "\n";
}

export interface ConfOptions {
  /** Port for vehicles, and for servers: the same, or one each. */
  vehiclePort: number;
  serverPort: number;
  /** Address for vehicles and for servers. @default all of the machine's */
  vehicleAddress?: string;
  serverAddress?: string;
  aclFile: string;
  caFile: string;
  certificateFile: string;
  keyFile: string;
  /** Largest payload in bytes. */
  maxPayload: number;
}

/** Room for a packet's header, topic and properties beside the payload. */
const packetOverhead = 70_000;

/**
 * The settings, for a file that mosquitto.conf includes (include_dir), mosquitto 2.0 or newer.
 *
 * @throws {RangeError} when a path cannot stand in the file.
 */
export function confFile(options: ConfOptions): string {
  const { vehiclePort, serverPort, vehicleAddress, serverAddress, maxPayload } = options;
  const { aclFile, caFile, certificateFile, keyFile } = options;
  for (const path of [aclFile, caFile, certificateFile, keyFile, vehicleAddress ?? "", serverAddress ?? ""]) {
    if (/[\r\n\0]/.test(path)) {
      throw new RangeError(`path: expected no line end, got ${JSON.stringify(path)}`);
    }
  }
  const listener = (port: number, address: string | undefined, more: string[]) => [
    `listener ${port}${address === undefined ? "" : ` ${address}`}`,
    `cafile ${caFile}`,
    `certfile ${certificateFile}`,
    `keyfile ${keyFile}`,
    "tls_version tlsv1.3",
    "require_certificate true",
    "use_identity_as_username true",
    ...more,
  ];
  const one = vehiclePort === serverPort;
  return [
    "# Settings of Zonebench for mosquitto 2.0 or newer, written by: zonebench mqtt acl",
    "",
    "allow_anonymous false",
    `acl_file ${aclFile}`,
    "",
    "# What came since the last save does not outlive a crash of the broker, for mosquitto acknowledges before it saves: vehicles",
    "# and servers keep it until they hear from each other that it has arrived.",
    "persistence true",
    "autosave_interval 10",
    "# What waits for a client that is away: servers' sessions hold what all vehicles send.",
    "max_queued_messages 100000",
    "max_queued_bytes 268435456",
    `message_size_limit ${maxPayload}`,
    `max_packet_size ${maxPayload + packetOverhead}`,
    "persistent_client_expiration 14d",
    "",
    "# A mosquitto that root starts goes on as the user mosquitto: that user must be able to read the files below, and a data",
    "# folder of Zonebench is closed to it. Copies do as well: --cafile, --certfile and --keyfile say where they lie.",
    one
      ? "# Vehicles and servers. The client id is the client's to choose: whoever has a certificate can end another's connection " +
        "by\n# taking its client id. A port of its own for servers (vmg.mqtt_url) lets the broker bind vehicles' client ids."
      : "# Vehicles. The client id is the certificate's name: nobody takes another's session over.",
    ...listener(vehiclePort, vehicleAddress, one ? [] : ["use_username_as_clientid true"]),
    ...(one ? [] : [
      "",
      "# Servers, each with client ids of its own. Keep this port to them: a vehicle's certificate opens no topics of others here,",
      "# but it can choose its client id.",
      ...listener(serverPort, serverAddress, []),
    ]),
  ].join("\n") + "\n";
}

// `zonebench mqtt acl`: access rules and settings that make mosquitto check what the embedded broker would.

import { type Command, Command as Group, Option } from "commander";
import { join, resolve } from "node:path";
import type { Config } from "../config/schema.ts";
import { routes } from "../contract/routes.ts";
import { describeError } from "../log.ts";
import { publicMode, writeAllWhole } from "../pqc/files.ts";
import { commonNameOf } from "../pqc/pki_directory.ts";
import {
  asOperator,
  configOf,
  foldersOf,
  makeCommand,
  type OperatorOptions,
  withOperator,
} from "./common.ts";
import { brokerAddress } from "./external_broker.ts";
import { aclFile, type AclVehicle, confFile } from "./mosquitto.ts";
import { CommandFailed, examples, print, printNote, UsageError } from "./output.ts";

interface AclOptions extends OperatorOptions {
  registry?: boolean;
  serverUser: string[];
  out?: string;
  conf?: boolean;
  cafile?: string;
  certfile?: string;
  keyfile?: string;
}

/** Vehicles asked for together. */
const page = 500;

export function mqttCommand(): Command {
  const group = new Group("mqtt").description("an MQTT broker that is there already (mqtt.mode: external)");
  const acl = withOperator(makeCommand(
    "acl",
    "access rules and settings for mosquitto, from the vehicles of the bench file or of the server's registry",
  ))
    .option(
      "--registry",
      "the vehicles that are registered at the server, instead of those of the bench file",
    )
    .addOption(
      new Option(
        "--server-user <name>",
        "common name of a server's client certificate; may be given again (default: that of mqtt.external.certificate)",
      ).default([], "none").argParser((value: string, before: string[]) => [...before, value]),
    )
    .option(
      "--out <dir>",
      "writes zonebench.acl and zonebench.conf there (default: the rules to standard output)",
    )
    .option("--conf", "the settings to standard output, instead of the rules")
    .option("--cafile <file>", "the broker's cafile (default: ca.crt of the data folder)")
    .option("--certfile <file>", "the broker's certificate (default: broker-HOST.crt of the data folder)")
    .option("--keyfile <file>", "its key (default: broker-HOST.key of the data folder)")
    .action(run);
  group.addCommand(acl);
  return examples(group, [
    "zonebench mqtt acl --out /etc/mosquitto/conf.d --set mqtt.external.url=mqtts://broker.example:8884 " +
    "--set vmg.mqtt_url=mqtts://broker.example:8883",
    "zonebench mqtt acl --registry > zonebench.acl",
  ]);
}

async function run(options: AclOptions): Promise<void> {
  if (options.conf === true && options.out !== undefined) {
    throw new UsageError("--conf and --out: one of them");
  }
  const config = await configOf(options);
  const { pki } = foldersOf(options.data);
  const vehicles = options.registry === true ? await registered(options) : config.bench.vehicles;
  const users = options.serverUser.length > 0 ? options.serverUser : [await serverUser(config, pki)];
  const files = (directory: string) => ({
    acl: join(directory, "zonebench.acl"),
    conf: join(directory, "zonebench.conf"),
  });
  const rules = checked(() => aclFile(vehicles, [...new Set(users)]));
  if (options.out === undefined) {
    print((options.conf === true ? settings(config, pki, options, files(".").acl) : rules).trimEnd());
    return;
  }
  const directory = resolve(options.out);
  const { acl, conf } = files(directory);
  const text = settings(config, pki, options, acl);
  try {
    await Deno.mkdir(directory, { recursive: true });
    await writeAllWhole([{ path: acl, text: rules }, { path: conf, text }], publicMode);
  } catch (cause) {
    throw new CommandFailed(`${directory}: cannot be written: ${describeError(cause)}`, { cause });
  }
  print(acl);
  print(conf);
  printNote(`${vehicles.length} vehicle(s); mosquitto reads rules anew on SIGHUP, settings when it starts`);
  printNote(
    "The user that mosquitto runs as must be able to read the rules and the certificate files that the settings name",
  );
}

function settings(config: Config, pki: string, options: AclOptions, acl: string): string {
  const { vmg, mqtt, server } = config;
  if (mqtt.external.url === "") {
    throw new UsageError(
      "mqtt.external.url is empty: where the broker is decides its ports and its certificate",
    );
  }
  const servers = brokerAddress(mqtt.external.url);
  const vehicles = vmg.mqtt_url === "" ? servers : brokerAddress(vmg.mqtt_url);
  const own = (ending: string) => join(pki, `broker-${servers.hostname}${ending}`);
  return checked(() =>
    confFile({
      vehiclePort: vehicles.port,
      serverPort: servers.port,
      aclFile: resolve(acl),
      caFile: resolve(options.cafile ?? join(pki, "ca.crt")),
      certificateFile: resolve(options.certfile ?? own(".crt")),
      keyFile: resolve(options.keyfile ?? own(".key")),
      maxPayload: server.mqtt.max_payload,
    })
  );
}

/** The common name of the certificate that the server shows; the one that `pki issue server-client` gives when it is not there yet. */
async function serverUser({ mqtt }: Config, pki: string): Promise<string> {
  const { certificate } = mqtt.external;
  return await commonNameOf(join(pki, `${certificate}.crt`)) ?? certificate;
}

async function registered(options: OperatorOptions): Promise<AclVehicle[]> {
  return await asOperator(options, async (client) => {
    const found: AclVehicle[] = [];
    for (;;) {
      const { vehicles, total } = await client.call(routes.listVehicles, {
        query: { limit: page, offset: found.length },
      });
      found.push(...vehicles);
      if (vehicles.length === 0 || found.length >= total) return found;
    }
  });
}

/** What cannot be put into the files is a matter of the settings. */
function checked<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof RangeError) throw new CommandFailed(error.message, { cause: error });
    throw error;
  }
}

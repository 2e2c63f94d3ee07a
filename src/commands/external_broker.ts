// What the server needs to be a client of an external broker, from the settings and the files that they name.

import type { Config } from "../config/schema.ts";
import { loadCredentials } from "../pqc/pki_directory.ts";
import { describeProfile, profileById } from "../pqc/profiles.ts";
import type { ExternalBrokerOptions } from "../server/mod.ts";
import { CommandFailed } from "./output.ts";
import { describeError } from "../log.ts";

/** MQTT over TLS, as registered with IANA. */
const defaultPort = 8883;

/** Host and port of `mqtts://host:port`. */
export function brokerAddress(url: string): { hostname: string; port: number } {
  const { hostname, port } = new URL(url);
  return {
    hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: port === "" ? defaultPort : Number(port),
  };
}

/** @throws {CredentialsMissing} {@link CommandFailed} when a file is not there or does not fit */
export async function externalBroker({ mqtt, server }: Config, pki: string): Promise<ExternalBrokerOptions> {
  const { external } = mqtt;
  const profile = profileById(external.profile);
  const loaded = await loadCredentials(pki, external.certificate);
  if (loaded.algorithm !== profile.certificateAlgorithm) {
    throw new CommandFailed(
      `${external.certificate}.crt: expected a certificate of ${profile.certificateAlgorithm} for profile ${profile.id}, ` +
        `${
          describeProfile(profile)
        }, got one of ${loaded.algorithm}; zonebench pki issue server-client --profile ` +
        `${profile.id} --force makes it`,
    );
  }
  const { certificateChain, privateKey } = loaded;
  return {
    ...brokerAddress(external.url),
    serverName: external.server_name === "" ? undefined : external.server_name,
    credentials: { certificateChain, privateKey },
    profile,
    trust: external.trust === "" ? loaded.trust : await readText("mqtt.external.trust", external.trust),
    username: external.username === "" ? undefined : external.username,
    password: external.password_file === ""
      ? undefined
      : (await readText("mqtt.external.password_file", external.password_file)).split(/\r?\n/, 1)[0],
    clientId: external.client_id,
    shareGroup: external.share_group === "" ? undefined : external.share_group,
    names: external.names,
    keepalive: external.keepalive,
    connectTimeout: external.connect_timeout * 1000,
    reconnectDelay: external.reconnect_min * 1000,
    maxReconnectDelay: external.reconnect_max * 1000,
    inFlight: external.in_flight,
    maxPayload: server.mqtt.max_payload,
  };
}

async function readText(setting: string, file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    throw new CommandFailed(`${setting}: ${file} cannot be read: ${describeError(cause)}`, { cause });
  }
}

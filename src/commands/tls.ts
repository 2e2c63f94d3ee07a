// Which PQC profile a command's links are on, and the credentials for it.

import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { loadCredentials, type LoadedCredentials } from "../pqc/pki_directory.ts";
import { serverCredentialsName } from "../pqc/authority.ts";
import { describeProfile, type Profile, profileById } from "../pqc/profiles.ts";
import type { Offer } from "../tls/types.ts";
import { CommandFailed } from "./output.ts";

/** The profile of vehicles and operators. */
export function clientProfile({ vmg, server }: Config): Profile {
  return profileById(vmg.tls.profile ?? server.tls.profiles[0]);
}

/**
 * The profile of vehicles' MQTT links.
 *
 * @throws {CommandFailed} when its certificates are of another algorithm than those of {@link clientProfile}: a vehicle has one.
 */
export function vehicleMqttProfile(config: Config): Profile {
  const { vmg, mqtt } = config;
  const own = clientProfile(config);
  const id = vmg.tls.mqtt_profile ?? (mqtt.mode === "external" ? mqtt.external.profile : own.id);
  const profile = profileById(id);
  if (profile.certificateAlgorithm !== own.certificateAlgorithm) {
    throw new CommandFailed(
      `vehicles have one certificate: profile ${own.id} wants ${own.certificateAlgorithm}, profile ${id} for MQTT ` +
        `${profile.certificateAlgorithm}; set vmg.tls.profile and vmg.tls.mqtt_profile to profiles of one algorithm`,
    );
  }
  return profile;
}

/** The profiles that the server accepts, the preferred one first. */
export function serverProfiles({ server }: Config): Profile[] {
  return server.tls.profiles.map((id) => profileById(id));
}

/**
 * A client's credentials, checked to be of the profile's algorithm.
 *
 * @param holder As `pki issue` takes it, e.g. `operator bench`.
 * @throws {CredentialsMissing} when they are not there.
 * @throws {CommandFailed} when they are of another algorithm.
 */
export async function clientCredentials(
  directory: string,
  holder: string,
  profile: Profile,
): Promise<LoadedCredentials> {
  const name = holder.replace(" ", "-");
  const credentials = await loadCredentials(directory, name);
  if (credentials.algorithm !== profile.certificateAlgorithm) {
    throw new CommandFailed(
      `${
        join(directory, `${name}.crt`)
      }: expected a certificate of ${profile.certificateAlgorithm} for profile ` +
        `${profile.id}, ${describeProfile(profile)}, got one of ${credentials.algorithm}; ` +
        `zonebench pki issue ${holder} --profile ${profile.id} makes it`,
    );
  }
  return credentials;
}

/** What the server shows on each of its profiles, and what it trusts. */
export async function serverOffers(
  directory: string,
  profiles: readonly Profile[],
): Promise<{ offers: Offer[]; trust: string }> {
  const offers: Offer[] = [];
  let trust = "";
  for (const profile of profiles) {
    const loaded = await loadCredentials(directory, serverCredentialsName(profile.certificateAlgorithm));
    const { certificateChain, privateKey } = loaded;
    offers.push({ profile, credentials: { certificateChain, privateKey } });
    trust = loaded.trust;
  }
  return { offers, trust };
}

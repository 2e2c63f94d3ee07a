// Who may program a simulated ECU: its security level (0x27), its authentication (0x29), and which of them programming needs.
import { knownX509, x509Check } from "../uds/authentication_x509.ts";
import { createSeedKey } from "../uds/seed_key.ts";
import { ServerAuthentication } from "../uds/server/authentication.ts";
import type { SecurityLevelOptions } from "../uds/server_security.ts";
import type { ServiceConditions } from "../uds/server_service.ts";
import { defaultSecurity } from "./ecu_defaults.ts";
import type { SimulatedAuthenticationOptions, SimulatedEcuOptions } from "./options.ts";

type Random = (length: number) => Uint8Array;

/** The locks of one ECU. */
export interface EcuAccess {
  readonly security: SecurityLevelOptions;
  /** Undefined: the ECU has no service 0x29. */
  readonly authentication: ServerAuthentication | undefined;
  /** What programming, and writing memory, needs. */
  readonly programmingAccess: ServiceConditions;
}

/** @throws {CertificateError} when a trust anchor is no authority's certificate */
export function ecuAccess(options: SimulatedEcuOptions, random: Random | undefined): EcuAccess {
  const given = { ...defaultSecurity(options.ecuType), ...options.securityAccess };
  const { level = 1, seedKey, seedLength = seedKey.algorithm === "linear" ? 4 : 16, attempts, delay } = given;
  const { authentication, flash } = options;
  const byAuthentication = authentication?.forProgramming ?? false;
  // One of the two; both where the plan has the step of the one besides the other, none where it leaves it out.
  const bySecurity = flash?.steps?.security_access ?? !byAuthentication;
  return {
    security: {
      level,
      seedKey: createSeedKey(seedKey),
      seedLength,
      ...attempts === undefined ? {} : { attempts },
      ...delay === undefined ? {} : { delay },
    },
    authentication: authentication === undefined ? undefined : authenticationOf(authentication, random),
    programmingAccess: {
      ...byAuthentication ? { authentication: true } : {},
      ...bySecurity ? { securityLevel: level } : {},
    },
  };
}

function authenticationOf(
  { trustAnchors, knownClients, identity }: SimulatedAuthenticationOptions,
  random: Random | undefined,
): ServerAuthentication {
  return new ServerAuthentication({
    checkCertificate: trustAnchors === undefined ? undefined : x509Check({ trustAnchors }),
    knownClients: knownClients?.map(knownX509),
    identity,
    random,
  });
}

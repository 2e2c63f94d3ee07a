// Who a verified certificate stands for.

import { vin as vinSchema } from "../contract/identifiers.ts";
import type { PeerIdentity } from "../tls/types.ts";

export type Identity =
  | { readonly kind: "vehicle"; readonly vin: string; readonly name: string }
  | { readonly kind: "operator"; readonly name: string }
  /** A certificate of the right authority that is neither: it opens nothing. */
  | { readonly kind: "unknown"; readonly name: string };

/**
 * Common name `vehicle-{VIN}` is a vehicle, organisational unit `operator` an operator. A name that claims to be a
 * vehicle is never an operator, whatever else the certificate says: one certificate opens one kind of route.
 */
export function identityOf(peer: PeerIdentity): Identity {
  const name = peer.commonName;
  if (name.startsWith("vehicle-")) {
    const vin = vinSchema.safeParse(name.slice("vehicle-".length));
    return vin.success ? { kind: "vehicle", vin: vin.data, name } : { kind: "unknown", name };
  }
  if (peer.organizationalUnits.includes("operator")) return { kind: "operator", name };
  return { kind: "unknown", name };
}

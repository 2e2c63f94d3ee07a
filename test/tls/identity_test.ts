// Who a certificate names, and that it is not taken in another role than it was made for.

import assert from "node:assert/strict";
import { WrongKeyUsage } from "../../src/tls/errors.ts";
import { identify } from "../../src/tls/identity.ts";
import { server, vehicle } from "./bench.ts";

function derOf({ certificateChain }: { certificateChain: string }): Uint8Array {
  const [, body] = /-----BEGIN CERTIFICATE-----([^-]+)/.exec(certificateChain) ?? [];
  return Uint8Array.fromBase64(body.replaceAll(/\s/g, ""));
}

Deno.test("a certificate names its holder in the role that it was made for, each time", () => {
  for (let time = 0; time < 2; time++) {
    assert.deepEqual(identify(derOf(vehicle), "client").organizationalUnits, ["fleet", "vehicle"]);
    assert.equal(identify(derOf(server), "server").keyAlgorithm, "ECDSA P-256");
  }
});

Deno.test("a vehicle's certificate is no server's and a server's no client's, also once it was read in its own role", () => {
  identify(derOf(vehicle), "client");
  identify(derOf(server), "server");
  for (let time = 0; time < 2; time++) {
    assert.throws(() => identify(derOf(vehicle), "server"), WrongKeyUsage);
    assert.throws(() => identify(derOf(server), "client"), WrongKeyUsage);
  }
});

// listen() and connect() against OpenSSL 3.5 on every profile, with certificates of `zonebench pki`, and with OpenSSL's own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { serverCredentialsName } from "../../src/pqc/authority.ts";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import {
  type CertificateAlgorithm,
  certificateAlgorithms,
  loadProfiles,
  signatureSchemes,
} from "../../src/pqc/profiles.ts";
import { connect } from "../../src/tls/connect.ts";
import { listen } from "../../src/tls/listen.ts";
import type { TlsConnection } from "../../src/tls/types.ts";
import { interopTest } from "../support/peers.ts";
import { Program } from "../support/program.ts";
import { Arrivals, readText } from "../tls/bench.ts";
import { makeOpenSslPki, opensslLibraries, type OpenSslPki, runOpenSsl } from "./tls_openssl_certificates.ts";
import { OpenSsl, openssl } from "./tls_openssl_process.ts";

const profiles = loadProfiles();

/** Certificates by algorithm: both ends show and trust those of one. */
type Pkis = ReadonlyMap<CertificateAlgorithm, OpenSslPki>;

function pkiFor(pkis: Pkis, algorithm: CertificateAlgorithm): OpenSslPki {
  const found = pkis.get(algorithm);
  assert.ok(found, algorithm);
  return found;
}

/** OpenSSL as the client of listen(), on every profile. */
async function checkClients(pkis: Pkis): Promise<void> {
  await using peer = new OpenSsl();
  for (const profile of profiles) {
    const { id, groups, certificateAlgorithm } = profile;
    const name = `profile ${id}`;
    const { trust, server, client } = pkiFor(pkis, certificateAlgorithm);
    const outcomes = new Arrivals<TlsConnection | Error>();
    const listener = await listen({
      hostname: "127.0.0.1",
      port: 0,
      offers: [{ profile, credentials: server }],
      trust,
      onConnection: (connection) => {
        connection.stream.pipe(connection.stream);
        outcomes.push(connection);
      },
      onRefused: (error) => outcomes.push(error),
    });
    try {
      const { certificateChain: cert, privateKey: key } = client;
      await peer.start([{ role: "client", name, groups, cert, key, ca: trust, port: listener.port }]);
      const connection = await outcomes.next();
      if (connection instanceof Error) throw connection;
      const closed = once(connection.stream, "close");
      const { group, signatureScheme } = connection.negotiated;
      assert.deepEqual([group, signatureScheme], [groups[0], signatureSchemes[certificateAlgorithm]], name);
      assert.equal(connection.peer.keyAlgorithm, certificateAlgorithm);
      assert.equal(await peer.expect(name, ({ echoed }) => echoed), "from OpenSSL", name);
      await closed;
    } finally {
      await listener.close();
    }
  }
}

/** OpenSSL as the server of connect(), on every profile. */
async function checkServers(pkis: Pkis): Promise<void> {
  await using peer = new OpenSsl();
  await peer.start(profiles.map(({ id, groups, certificateAlgorithm }) => {
    const { trust: ca, server } = pkiFor(pkis, certificateAlgorithm);
    const { certificateChain: cert, privateKey: key } = server;
    return { role: "server", name: `profile ${id}`, groups, cert, key, ca };
  }));
  for (const profile of profiles) {
    const { id, groups, certificateAlgorithm } = profile;
    const name = `profile ${id}`;
    const { trust, client } = pkiFor(pkis, certificateAlgorithm);
    const { stream, negotiated, peer: { keyAlgorithm } } = await connect({
      hostname: "127.0.0.1",
      port: await peer.expect(name, ({ port }) => port),
      profile,
      credentials: client,
      trust,
      serverName: "localhost",
    });
    const { group, signatureScheme } = negotiated;
    assert.deepEqual([group, signatureScheme], [groups[0], signatureSchemes[certificateAlgorithm]], name);
    assert.equal(keyAlgorithm, certificateAlgorithm);
    const closed = once(stream, "close");
    stream.end("there and back");
    assert.equal(await readText(stream), "there and back", name);
    await closed;
    assert.match(await peer.expect(name, ({ peer }) => peer), /^(client|vehicle-)/);
  }
}

const vins = ["KMHZB00BENCH00001", "KMHZB00BENCH00002", "KMHZB00BENCH00003", "KMHZB00BENCH00004"];

/** Runs `zonebench pki` for every algorithm. */
async function withZonebenchPki(run: (directory: string, pkis: Pkis) => Promise<void>): Promise<void> {
  const data = await Deno.makeTempDir();
  try {
    const program = new Program({
      data,
      network: "127.0.10.0/24",
      settings: [`server.tls.profiles=[${profiles.map(({ id }) => id)}]`],
    });
    const succeed = async (args: string[]) => {
      const { code, stderr } = await program.run(args);
      assert.equal(code, 0, `zonebench ${args.join(" ")}: ${stderr}`);
    };
    await succeed(["pki", "init"]);
    const directory = join(data, "pki");
    const pkis = new Map<CertificateAlgorithm, OpenSslPki>();
    for (const [index, algorithm] of certificateAlgorithms.entries()) {
      const profile = profiles.find(({ certificateAlgorithm }) => certificateAlgorithm === algorithm);
      await succeed(["pki", "issue", "vehicle", vins[index], "--profile", `${profile?.id}`]);
      const { trust, ...server } = await loadCredentials(directory, serverCredentialsName(algorithm));
      pkis.set(algorithm, {
        trust,
        server,
        client: await loadCredentials(directory, `vehicle-${vins[index]}`),
      });
    }
    await run(directory, pkis);
  } finally {
    await Deno.remove(data, { recursive: true });
  }
}

interopTest(
  "certificates of `zonebench pki` serve every profile with OpenSSL 3.5 as client and as server",
  [openssl],
  () =>
    withZonebenchPki(async (_directory, pkis) => {
      await checkClients(pkis);
      await checkServers(pkis);
    }),
);

interopTest(
  "OpenSSL 3.5 verifies the certificates of `zonebench pki` strictly, of every algorithm and for their purpose alone",
  [opensslLibraries],
  () =>
    withZonebenchPki(async (directory) => {
      await Deno.writeTextFile(join(directory, "openssl.cnf"), "");
      const verify = (purpose: string, name: string) =>
        runOpenSsl(
          directory,
          ...["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose, `${name}.crt`],
        );
      for (const [index, algorithm] of certificateAlgorithms.entries()) {
        const [server, vehicle] = [serverCredentialsName(algorithm), `vehicle-${vins[index]}`];
        assert.match(await verify("sslserver", server), /: OK/, algorithm);
        assert.match(await verify("sslclient", vehicle), /: OK/, algorithm);
        await assert.rejects(verify("sslclient", server), /unsuitable certificate purpose/, algorithm);
        await assert.rejects(verify("sslserver", vehicle), /unsuitable certificate purpose/, algorithm);
      }
    }),
);

interopTest(
  "certificates that OpenSSL 3.5 made, with an intermediate authority, serve every profile with it as client and as server",
  [openssl, opensslLibraries],
  async () => {
    assert.match(await runOpenSsl(".", "version"), /Library: OpenSSL 3\.5\./);
    const made = await Promise.all(
      certificateAlgorithms.map(async (algorithm) => [algorithm, await makeOpenSslPki(algorithm)] as const),
    );
    const pkis = new Map(made);
    await checkClients(pkis);
    await checkServers(pkis);
  },
);

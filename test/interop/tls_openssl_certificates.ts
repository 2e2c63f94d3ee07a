// Certificates made by OpenSSL 3.5 itself, of every algorithm that the profiles use. Debian 12's command line is that of
// OpenSSL 3.0; it runs with the libraries of 3.5, which the wheel of a PostgreSQL driver brings along.

import { join } from "node:path";
import type { CertificateAlgorithm } from "../../src/pqc/profiles.ts";
import type { Credentials } from "../../src/tls/types.ts";
import { type Peer, peers, present } from "../support/peers.ts";
import { pythonPackages } from "../support/python_packages.ts";

/** The wheel; its libraries say `OpenSSL 3.5.8`. */
const wheel = "psycopg2-binary==2.9.13";

/** The wheel's names carry a digest; what is linked against these libraries looks for them without it. */
function plainNames(folder: string): void {
  const bundled = join(folder, "psycopg2_binary.libs");
  Deno.mkdirSync(join(folder, "lib"));
  for (const { name } of Deno.readDirSync(bundled)) {
    const plain = /^(libcrypto|libssl)-[0-9a-f]+(\.so\.3)$/.exec(name);
    if (plain !== null) Deno.renameSync(join(bundled, name), join(folder, "lib", plain[1] + plain[2]));
  }
}

const fetched = present(peers.openssl)
  ? pythonPackages(`openssl-of-${wheel.replace("==", "-")}`, [wheel], plainNames)
  : undefined;
/** The folder with libcrypto.so.3 and libssl.so.3. */
const found = fetched && join(fetched, "lib");

/** OpenSSL 3.5's libraries below the `openssl` of the system. */
export const opensslLibraries: Peer = {
  command: found === undefined ? "libcrypto.so.3 of OpenSSL 3.5" : join(found, "libcrypto.so.3"),
  install: `apt-get install openssl python3-pip (the test then fetches ${wheel} by pip)`,
};

/** Runs `openssl` of 3.5 in a folder; its output, or an error with what it said. */
export async function runOpenSsl(folder: string, ...args: string[]): Promise<string> {
  if (found === undefined) throw new Error("expected OpenSSL 3.5's libraries");
  const { success, stdout, stderr } = await new Deno.Command("openssl", {
    args,
    cwd: folder,
    // The libraries were built with a folder for settings that is not there: none are needed.
    env: { LD_LIBRARY_PATH: found, OPENSSL_CONF: join(folder, "openssl.cnf") },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(20_000),
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  if (!success) throw new Error(`openssl ${args.join(" ")}: ${text}`);
  return text;
}

/** An authority of OpenSSL with what it has issued to the two ends, PEM. */
export interface OpenSslPki {
  readonly trust: string;
  readonly server: Credentials;
  readonly client: Credentials;
}

const extensions = `
[request]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[intermediate]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
`;

/** Root, intermediate authority and two leaves, each with a key of `algorithm`. */
export async function makeOpenSslPki(algorithm: CertificateAlgorithm): Promise<OpenSslPki> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "openssl.cnf"), extensions);
    const run = (...args: string[]) => runOpenSsl(folder, ...args);
    const generate = algorithm === "ECDSA P-256"
      ? ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
      : ["-algorithm", algorithm];
    const issue = async (name: string, section: string, issuer: string | undefined) => {
      await run("genpkey", ...generate, "-out", `${name}.key`);
      const subject = ["-config", "openssl.cnf", "-section", "request", "-subj", `/CN=${name}`];
      await run("req", "-new", ...subject, "-key", `${name}.key`, "-out", `${name}.csr`);
      const signer = issuer === undefined
        ? ["-signkey", `${name}.key`]
        : ["-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`, "-CAcreateserial"];
      const more = ["-days", "30", "-extfile", "openssl.cnf", "-extensions", section];
      await run("x509", "-req", "-in", `${name}.csr`, ...signer, ...more, "-out", `${name}.crt`);
    };
    await issue("root", "authority", undefined);
    await issue("intermediate", "intermediate", "root");
    await issue("server", "server", "intermediate");
    await issue("client", "client", "intermediate");
    const read = (file: string) => Deno.readTextFile(join(folder, file));
    const credentials = async (name: string): Promise<Credentials> => ({
      certificateChain: await read(`${name}.crt`) + await read("intermediate.crt"),
      privateKey: await read(`${name}.key`),
    });
    return {
      trust: await read("root.crt"),
      server: await credentials("server"),
      client: await credentials("client"),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

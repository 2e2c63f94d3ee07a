// The key by which a simulated ECU signs its version reports. The ECU makes it itself, and its private half leaves it in no
// message: beside the ECU's folder lie keys/{ECU}.key, mode 0600, and keys/{ECU}.pub for whoever enters it into an inventory.
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { ReportAlgorithm } from "../flash/version_report.ts";

/** `keytype` and `scheme` of the public key in signed metadata, which its identifier covers. */
const forms: Readonly<Record<ReportAlgorithm, { keytype: string; scheme: string }>> = {
  "ecdsa-p256": { keytype: "ecdsa", scheme: "ecdsa-sha2-nistp256" },
  "ml-dsa-65": { keytype: "ml-dsa", scheme: "ml-dsa-65/1" },
};

const mlDsa = { name: "ML-DSA-65" } as const;

/** TAP 21: domain and version before the SHA-512 of what is signed. */
const mlDsaPrefix = Uint8Array.of(0x74, 0x75, 0x66, 0x01);

/** A key that signs. */
export interface ReportKey {
  readonly algorithm: ReportAlgorithm;
  /** SHA-256 of the public key as signed metadata has it, 64 hexadecimal digits. */
  readonly keyid: string;
  /** The public key as PEM of its SubjectPublicKeyInfo. */
  readonly publicPem: string;
  sign(report: Uint8Array): Promise<Uint8Array>;
}

/**
 * The key of the file, which is made when it is not there.
 *
 * @param path of the private key, e.g. `data/bench/keys/ECU_001.key`. undefined: the key lasts as long as the ECU's object
 * @throws {SyntaxError} when the file holds anything but a private key of the algorithm
 */
export async function reportKey(algorithm: ReportAlgorithm, path: string | undefined): Promise<ReportKey> {
  const kept = path === undefined ? undefined : await readIfPresent(path);
  const pem = kept ?? await makePrivateKey(algorithm);
  let key: ReportKey;
  try {
    key = algorithm === "ecdsa-p256" ? ecdsaKey(pem) : await mlDsaKey(pem);
  } catch (cause) {
    // The text holds a private key: it is not repeated.
    throw new SyntaxError(`${path}: expected a private key for ${algorithm} as PKCS #8 PEM`, { cause });
  }
  if (path !== undefined) {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
    await writeWhole(`${path.replace(/\.key$/, "")}.pub`, key.publicPem, 0o644);
    if (kept === undefined) await writeWhole(path, pem, 0o600);
  }
  return key;
}

async function makePrivateKey(algorithm: ReportAlgorithm): Promise<string> {
  if (algorithm === "ecdsa-p256") {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  }
  const pair = await crypto.subtle.generateKey(mlDsa, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new TypeError("ML-DSA-65: expected a pair of keys, got one");
  return pemOf("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey)));
}

function ecdsaKey(pem: string): ReportKey {
  const privateKey = createPrivateKey(pem);
  if (privateKey.asymmetricKeyType !== "ec") throw new TypeError("expected a key for ECDSA");
  const publicPem = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
  return {
    ...named("ecdsa-p256", publicPem),
    sign: (report) => Promise.resolve(new Uint8Array(sign("sha256", report, privateKey))),
  };
}

async function mlDsaKey(pem: string): Promise<ReportKey> {
  const der = Uint8Array.fromBase64(pem.replaceAll(/-----[A-Z ]+-----/g, ""));
  const privateKey = await crypto.subtle.importKey("pkcs8", der, mlDsa, true, ["sign"]);
  // PKCS #8 holds the seed alone; the public half stands in the form that has both.
  const { priv: _, key_ops: __, ...form } = publicForm(await crypto.subtle.exportKey("jwk", privateKey));
  const publicKey = await crypto.subtle.importKey("jwk", form, mlDsa, true, ["verify"]);
  const publicPem = pemOf("PUBLIC KEY", new Uint8Array(await crypto.subtle.exportKey("spki", publicKey)));
  return {
    ...named("ml-dsa-65", publicPem),
    sign: async (report) => {
      const digest = createHash("sha512").update(report).digest();
      const message = new Uint8Array(mlDsaPrefix.length + digest.length);
      message.set(mlDsaPrefix);
      message.set(digest, mlDsaPrefix.length);
      return new Uint8Array(await crypto.subtle.sign(mlDsa, privateKey, message));
    },
  };
}

function publicForm(form: JsonWebKey): JsonWebKey & { priv?: unknown } {
  return form;
}

/** The identifier: SHA-256 of the canonical form of type, scheme and value. */
function named(
  algorithm: ReportAlgorithm,
  publicPem: string,
): Pick<ReportKey, "algorithm" | "keyid" | "publicPem"> {
  const { keytype, scheme } = forms[algorithm];
  const form = `{"keytype":"${keytype}","keyval":{"public":"${publicPem}"},"scheme":"${scheme}"}`;
  return { algorithm, publicPem, keyid: createHash("sha256").update(form).digest("hex") };
}

function pemOf(label: string, der: Uint8Array): string {
  const lines = der.toBase64().replaceAll(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Temporary name, fsync, rename. */
async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.new`;
  // What an earlier try left may be open wider.
  await Deno.remove(temporary).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode });
    const bytes = new TextEncoder().encode(text);
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    await file.sync();
  }
  await Deno.rename(temporary, path);
}

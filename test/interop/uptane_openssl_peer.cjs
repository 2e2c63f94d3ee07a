// The other end of uptane_openssl_test.ts, run by Node.js 24, whose signatures are OpenSSL 3.5's. It reads metadata, one JSON text
// on standard input, {files: [...], keys: {...}}: it verifies each signature with its own canonical form and says which are good;
// then it signs `sign` with keys of its own. One JSON text on standard output.

"use strict";
const crypto = require("node:crypto");

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${
      Object.keys(value).sort().map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")
    }}`;
  }
  if (typeof value === "string") return `"${value.split("\\").join("\\\\").split('"').join('\\"')}"`;
  return JSON.stringify(value);
}

function message(scheme, payload) {
  if (scheme === "ecdsa-sha2-nistp256") return { algorithm: "sha256", bytes: payload };
  const digest = crypto.createHash("sha512").update(payload).digest();
  return { algorithm: null, bytes: Buffer.concat([Buffer.from("tuf\x01", "latin1"), digest]) };
}

const { files, keys, sign } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const verified = files.map((file) => {
  const payload = Buffer.from(canonical(file.signed), "utf8");
  return file.signatures.map(({ keyid, sig }) => {
    const { scheme, keyval } = keys[keyid];
    const { algorithm, bytes } = message(scheme, payload);
    return crypto.verify(algorithm, bytes, crypto.createPublicKey(keyval.public), Buffer.from(sig, "hex"));
  });
});
const made = [
  ["ml-dsa-65", { keytype: "ml-dsa", scheme: "ml-dsa-65/1" }],
  ["ec", { keytype: "ecdsa", scheme: "ecdsa-sha2-nistp256" }],
].map(([type, model]) => {
  const pair = crypto.generateKeyPairSync(type, { namedCurve: "P-256" });
  const { algorithm, bytes } = message(model.scheme, Buffer.from(canonical(sign), "utf8"));
  return {
    key: { ...model, keyval: { public: pair.publicKey.export({ type: "spki", format: "pem" }) } },
    privateKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }),
    sig: crypto.sign(algorithm, bytes, pair.privateKey).toString("hex"),
  };
});
process.stdout.write(JSON.stringify({ verified, made }));

// Both ends of the key exchanges that the hand-made peer knows: X25519 by WebCrypto, ML-KEM-768 by noble.

import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";

type Bytes = Uint8Array<ArrayBuffer>;

/** IANA "TLS Supported Groups". */
export const group = { x25519: 0x001d, x25519MlKem768: 0x11ec, mlKem768: 0x0201, secp256r1: 0x0017 } as const;

/** The client's half: a share for the server, and what its answer comes to. */
export interface Started {
  readonly share: Bytes;
  complete(serverShare: Uint8Array): Promise<Bytes>;
}

const algorithm = { name: "X25519" };

async function x25519(): Promise<
  { share: Bytes; agree: (other: Uint8Array<ArrayBuffer>) => Promise<Bytes> }
> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ["deriveBits"]);
  if (!("privateKey" in pair)) throw new TypeError("expected a key pair");
  return {
    share: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
    agree: (other) => x25519Agree(pair.privateKey, other),
  };
}

/** The shared secret of a private key with another's public one. */
export async function x25519Agree(privateKey: CryptoKey, other: Uint8Array<ArrayBuffer>): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", other, algorithm, false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ ...algorithm, public: key }, privateKey, 256));
}

/** draft-ietf-tls-ecdhe-mlkem section 4: ML-KEM's part comes first. */
export async function start(number: number): Promise<Started> {
  const curve = await x25519();
  if (number === group.x25519) return { share: curve.share, complete: (share) => curve.agree(share.slice()) };
  if (number !== group.x25519MlKem768) throw new RangeError(`expected a group of this peer, got ${number}`);
  const { publicKey, secretKey } = ml_kem768.keygen();
  return {
    share: Uint8Array.of(...publicKey, ...curve.share),
    complete: async (share) =>
      Uint8Array.of(
        ...ml_kem768.decapsulate(share.subarray(0, 1088), secretKey),
        ...await curve.agree(share.slice(1088)),
      ),
  };
}

/** The server's half: its share, and the secret. */
export async function answer(
  number: number,
  clientShare: Uint8Array,
): Promise<{ share: Bytes; shared: Bytes }> {
  const curve = await x25519();
  if (number === group.x25519) return { share: curve.share, shared: await curve.agree(clientShare.slice()) };
  if (number !== group.x25519MlKem768) throw new RangeError(`expected a group of this peer, got ${number}`);
  const { cipherText, sharedSecret } = ml_kem768.encapsulate(clientShare.slice(0, 1184));
  return {
    share: Uint8Array.of(...cipherText, ...curve.share),
    shared: Uint8Array.of(...sharedSecret, ...await curve.agree(clientShare.slice(1184))),
  };
}

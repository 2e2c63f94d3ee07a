// ECDSA over P-256 with SHA-256 (FIPS 186-5) by WebCrypto. Signatures are DER as TUF's implementations have them (RFC 3279,
// section 2.2.3: SEQUENCE { INTEGER r, INTEGER s }); WebCrypto's own are r and s side by side.

/** WebCrypto's name of the keys. */
export const ecdsaKey = { name: "ECDSA", namedCurve: "P-256" } as const;
const signing = { name: "ECDSA", hash: "SHA-256" } as const;

/** Bytes of r, and of s. */
const half = 32;

/** Signs; DER. */
export async function ecdsaSign(
  key: CryptoKey,
  message: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const plain = new Uint8Array(await crypto.subtle.sign(signing, key, message));
  return toDer(plain);
}

/** Whether a DER signature is the key's. What is not DER is no signature: one signature has one form. */
export async function ecdsaVerify(
  key: CryptoKey,
  signature: Uint8Array,
  message: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const plain = fromDer(signature);
  return plain !== undefined && await crypto.subtle.verify(signing, key, plain, message);
}

/** r and s side by side as DER. */
function toDer(plain: Uint8Array): Uint8Array<ArrayBuffer> {
  const body = [...integer(plain.subarray(0, half)), ...integer(plain.subarray(half))];
  return Uint8Array.from([0x30, body.length, ...body]);
}

function integer(bytes: Uint8Array): number[] {
  let begin = 0;
  while (begin < bytes.length - 1 && bytes[begin] === 0) begin++;
  const significant = [...bytes.subarray(begin)];
  if (significant[0] >= 0x80) significant.unshift(0); // Else it were negative.
  return [0x02, significant.length, ...significant];
}

/** DER as r and s side by side; undefined for anything but DER of two positive numbers of at most 32 bytes. */
function fromDer(der: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  if (der.length < 8 || der[0] !== 0x30 || der[1] !== der.length - 2 || der[1] >= 0x80) return undefined;
  const plain = new Uint8Array(2 * half);
  let at = 2;
  for (const offset of [0, half]) {
    const length = der[at + 1];
    if (der[at] !== 0x02 || length === undefined || length === 0 || at + 2 + length > der.length) {
      return undefined;
    }
    let digits = der.subarray(at + 2, at + 2 + length);
    if (digits[0] >= 0x80) return undefined;
    if (digits[0] === 0) {
      if (digits.length > 1 && digits[1] < 0x80) return undefined; // A zero too many.
      digits = digits.subarray(1);
    }
    if (digits.length > half) return undefined;
    plain.set(digits, offset + half - digits.length);
    at += 2 + length;
  }
  return at === der.length ? plain : undefined;
}

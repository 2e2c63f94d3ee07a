// The numbers of the TLS registries that the engine knows, each with its name there, both ways.

/** Names by number, and numbers by name. */
class Registry {
  readonly #names: ReadonlyMap<number, string>;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #what: string;

  constructor(what: string, entries: readonly (readonly [number, string])[]) {
    this.#what = what;
    this.#names = new Map(entries);
    this.#numbers = new Map(entries.map(([number, name]) => [name, number]));
  }

  /** All names, in the order of the table. */
  get names(): string[] {
    return [...this.#numbers.keys()];
  }

  /** The name, or the number as `0x1234` when it is not in the table: a peer may offer anything. */
  nameOf(number: number): string {
    return this.#names.get(number) ?? `0x${number.toString(16).padStart(4, "0")}`;
  }

  /** @throws {RangeError} when the engine does not know the name. */
  numberOf(name: string): number {
    const number = this.#numbers.get(name);
    if (number === undefined) {
      throw new RangeError(`${this.#what}: expected one of ${this.names.join(", ")}, got ${name}`);
    }
    return number;
  }
}

/** IANA "TLS Supported Groups". The first seven are the engine's; the rest are named for log lines. */
export const groups = new Registry("key exchange group", [
  [0x001d, "X25519"],
  [0x11ec, "X25519MLKEM768"],
  [0x11eb, "SecP256r1MLKEM768"],
  [0x11ed, "SecP384r1MLKEM1024"],
  [0x0200, "MLKEM512"],
  [0x0201, "MLKEM768"],
  [0x0202, "MLKEM1024"],
  [0x0017, "secp256r1"],
  [0x0018, "secp384r1"],
  [0x0019, "secp521r1"],
  [0x001e, "x448"],
  [0x0100, "ffdhe2048"],
  [0x0101, "ffdhe3072"],
]);

/** IANA "TLS Cipher Suites", those of TLS 1.3 that the engine has; the preferred one first. */
export const cipherSuites = new Registry("cipher suite", [
  [0x1303, "TLS_CHACHA20_POLY1305_SHA256"],
  [0x1302, "TLS_AES_256_GCM_SHA384"],
  [0x1301, "TLS_AES_128_GCM_SHA256"],
]);

/** IANA "TLS SignatureScheme". The first six are the engine's; the rest are named for log lines. */
export const signatureSchemes = new Registry("signature scheme", [
  [0x0403, "ecdsa_secp256r1_sha256"],
  [0x0503, "ecdsa_secp384r1_sha384"],
  [0x0807, "ed25519"],
  [0x0904, "mldsa44"],
  [0x0905, "mldsa65"],
  [0x0906, "mldsa87"],
  [0x0603, "ecdsa_secp521r1_sha512"],
  [0x0808, "ed448"],
  [0x0804, "rsa_pss_rsae_sha256"],
  [0x0805, "rsa_pss_rsae_sha384"],
  [0x0806, "rsa_pss_rsae_sha512"],
  [0x0401, "rsa_pkcs1_sha256"],
  [0x0501, "rsa_pkcs1_sha384"],
  [0x0601, "rsa_pkcs1_sha512"],
]);

/** Protocol versions (RFC 8446 section 4.2.1). */
export const versions = new Registry("protocol version", [
  [0x0304, "TLSv1.3"],
  [0x0303, "TLSv1.2"],
  [0x0302, "TLSv1.1"],
  [0x0301, "TLSv1"],
]);

/** IANA "TLS Alerts", as RFC 8446 section 6 spells them. */
export const alerts = new Registry("alert", [
  [0, "close_notify"],
  [10, "unexpected_message"],
  [20, "bad_record_mac"],
  [22, "record_overflow"],
  [40, "handshake_failure"],
  [42, "bad_certificate"],
  [43, "unsupported_certificate"],
  [44, "certificate_revoked"],
  [45, "certificate_expired"],
  [46, "certificate_unknown"],
  [47, "illegal_parameter"],
  [48, "unknown_ca"],
  [49, "access_denied"],
  [50, "decode_error"],
  [51, "decrypt_error"],
  [70, "protocol_version"],
  [71, "insufficient_security"],
  [80, "internal_error"],
  [86, "inappropriate_fallback"],
  [90, "user_canceled"],
  [109, "missing_extension"],
  [110, "unsupported_extension"],
  [112, "unrecognized_name"],
  [113, "bad_certificate_status_response"],
  [115, "unknown_psk_identity"],
  [116, "certificate_required"],
  [120, "no_application_protocol"],
]);

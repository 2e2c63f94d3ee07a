// What can go wrong with the certificate authority and its files.

/** Root of the tree. */
export class PkiError extends Error {
  override name = "PkiError";
}

/** There is no authority, or no private key of it, where one is needed. */
export class AuthorityMissing extends PkiError {
  override name = "AuthorityMissing";
}

/** A certificate or key that was asked for is not there. */
export class CredentialsMissing extends PkiError {
  override name = "CredentialsMissing";
}

/** A file is there and is not what it should be. */
export class BadPkiFile extends PkiError {
  override name = "BadPkiFile";
}

/** A VIN, an operator's or a server's name that no certificate can carry. */
export class InvalidName extends PkiError {
  override name = "InvalidName";
}

/** Another program holds the directory for too long. */
export class PkiLocked extends PkiError {
  override name = "PkiLocked";
}

// What can be wrong with a package, by cause.

/** Causes, for programs; the message is for people. */
export type PackageErrorCode =
  // The container does not hold together.
  | "truncated"
  | "bad_magic"
  | "bad_version"
  | "bad_flags"
  | "bad_length"
  | "too_large"
  | "trailing_bytes"
  // The manifest is not one.
  | "manifest_not_canonical"
  | "manifest_schema"
  | "manifest_inconsistent"
  // It comes from somebody else, or goes to somebody else.
  | "unknown_key"
  | "bad_signature"
  | "wrong_vehicle"
  // Parts and blobs do not lie as the manifest says.
  | "part_layout"
  | "blob_outside"
  | "blob_overlap"
  // Blobs are not what the manifest says.
  | "table_hash"
  | "block_hash"
  | "blob_hash"
  | "blob_not_zstd"
  | "blob_window"
  | "image_too_long"
  | "image_too_short"
  | "image_hash";

/** A package that is refused. */
export class PackageError extends Error {
  override readonly name: string = "PackageError";
  readonly code: PackageErrorCode;

  constructor(code: PackageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The container or its manifest is malformed. */
export class PackageFormatError extends PackageError {
  override readonly name = "PackageFormatError";
}

/** The package is not signed by a key that is trusted. */
export class PackageSignatureError extends PackageError {
  override readonly name = "PackageSignatureError";
}

/** The package is for another vehicle. */
export class PackageTargetError extends PackageError {
  override readonly name = "PackageTargetError";
}

/** What the package holds is not what its manifest says. */
export class PackageContentError extends PackageError {
  override readonly name = "PackageContentError";
}

/** A delta's base is not the image that the delta was made from: take the full image instead. */
export class DeltaBaseError extends Error {
  override readonly name = "DeltaBaseError";
}

const formatCodes = new Set<PackageErrorCode>([
  "truncated",
  "bad_magic",
  "bad_version",
  "bad_flags",
  "bad_length",
  "too_large",
  "trailing_bytes",
  "manifest_not_canonical",
  "manifest_schema",
  "manifest_inconsistent",
]);

/** The error of a code, in its class: for a code that came from a worker. */
export function packageError(code: PackageErrorCode, message: string, options?: ErrorOptions): PackageError {
  if (formatCodes.has(code)) return new PackageFormatError(code, message, options);
  if (code === "unknown_key" || code === "bad_signature") {
    return new PackageSignatureError(code, message, options);
  }
  if (code === "wrong_vehicle") return new PackageTargetError(code, message, options);
  return new PackageContentError(code, message, options);
}

/** The codec has as much to do as it takes: ask again later. */
export class CodecBusyError extends Error {
  override readonly name = "CodecBusyError";
}

// What packages and ECUs refuse, or what does not come, as the attack that it would be: with the same codes, in the same log and the
// same reports as signed metadata.

import {
  PackageError,
  PackageFormatError,
  PackageSignatureError,
  PackageTargetError,
} from "../../codec/errors.ts";
import { type CheckCode, refusal } from "../../uptane/checks.ts";
import { UptaneError } from "../../uptane/errors.ts";
import {
  DownloadSizeError,
  DownloadSlowError,
  DownloadWithheldError,
  explain,
  PackageMismatchError,
  ReleaseRefusedError,
} from "../errors.ts";

/** The refusal that an error stands for; undefined where it is the disk's or the vehicle's own, or was refused already. */
export function refusalOf(error: unknown): UptaneError | undefined {
  if (error instanceof UptaneError) return undefined;
  const code = codeOf(error);
  if (code === undefined) return undefined;
  const cause = error instanceof PackageError ? `${error.code}: ` : "";
  const subject = error instanceof ReleaseRefusedError ? "ECU" : "package";
  return refusal(code, subject, `${cause}${explain(error)}`, { cause: error });
}

function codeOf(error: unknown): CheckCode | undefined {
  if (error instanceof DownloadWithheldError) return "package_present";
  if (error instanceof DownloadSlowError) return "package_speed";
  if (error instanceof DownloadSizeError) return "package_size";
  if (error instanceof PackageMismatchError) return "package_ecus";
  if (error instanceof ReleaseRefusedError) return "ecu_release";
  if (!(error instanceof PackageError)) return undefined;
  if (error instanceof PackageSignatureError) return "package_signed";
  if (error instanceof PackageTargetError) return "package_vehicle";
  if (error.code === "too_large") return "package_size";
  return error instanceof PackageFormatError ? "package_form" : "package_content";
}

// Why an update failed, as it is told, and whether another attempt may end otherwise.

import { PackageError, PackageSignatureError } from "../../codec/errors.ts";
import {
  DropRequestError,
  FreezeError,
  SlowRetrievalError,
  StoreError,
  UptaneError,
} from "../../uptane/errors.ts";
import { explain, PackageMismatchError, ReleaseRefusedError } from "../errors.ts";

/** What a check of signed metadata refused is told by its code, wherever it was found. */
export function failureOf(stage: string, error: unknown): string {
  const code = error instanceof UptaneError || error instanceof StoreError ? error.code : undefined;
  return code === undefined ? `${stage}: ${explain(error)}` : `metadata: ${code}: ${explain(error)}`;
}

/** Whether another attempt may end otherwise. What is for something else, or too old, stays that. */
export function mayBeMended(error: unknown): boolean {
  if (error instanceof UptaneError) {
    // A package is made anew, from images that may be right.
    if (error.cause instanceof PackageError) return !(error.cause instanceof PackageSignatureError);
    // What did not come, or was not new, may come and be new then.
    return error instanceof SlowRetrievalError || error instanceof DropRequestError ||
      error instanceof FreezeError;
  }
  return !(error instanceof PackageMismatchError || error instanceof ReleaseRefusedError);
}

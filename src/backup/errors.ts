// What can be wrong with a backup, by cause. Messages say what was expected, what came and where.

/** The root of this module's errors. */
export class BackupError extends Error {
  override name = "BackupError";
}

/** The file is no backup, is cut off, damaged, or made to do harm. */
export class BadBackup extends BackupError {
  override name = "BadBackup";
}

/** A newer program made the backup. */
export class NewerBackup extends BackupError {
  override name = "NewerBackup";
}

/** The keys do not open: another pass phrase encrypted them, or they were changed. */
export class WrongPassPhrase extends BackupError {
  override name = "WrongPassPhrase";
}

/** A value for a message: JSON, cut so that hostile input makes no huge message. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

// Reads what a document tells its reader to type: blocks marked `sh` can be copied as they are. A block that needs
// something of the reader's own, a FILE or hardware, is marked `text` in the document itself, for all to see.

/** A command of a document. */
export interface DocumentCommand {
  /** `README.md:30` */
  where: string;
  /** As a shell takes it; continued lines are joined. */
  line: string;
}

/** The commands of a document's `sh` blocks, in their order. @param name for messages */
export function commandsIn(name: string, text: string): DocumentCommand[] {
  const commands: DocumentCommand[] = [];
  let within: string | undefined;
  let begun: DocumentCommand | undefined;
  for (const [at, line] of text.split("\n").entries()) {
    const fence = /^\s*```(\w*)/.exec(line);
    if (fence !== null) {
      if (begun !== undefined) throw new Error(`${begun.where}: ${begun.line} goes on after the block`);
      within = within === undefined ? fence[1] : undefined;
      continue;
    }
    if (within !== "sh" || line.trim() === "") continue;
    begun = begun === undefined
      ? { where: `${name}:${at + 1}`, line: line.trim() }
      : { where: begun.where, line: `${begun.line} ${line.trim()}` };
    if (begun.line.endsWith("\\")) {
      begun.line = begun.line.slice(0, -1).trim();
      continue;
    }
    commands.push(begun);
    begun = undefined;
  }
  return commands;
}

// What the user types to run this program.

/** `zonebench` in an executable, which holds its modules as JavaScript; from source, the task. */
export const programName: string = import.meta.url.endsWith(".ts") ? "deno task zonebench" : "zonebench";

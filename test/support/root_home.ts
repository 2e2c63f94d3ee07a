// Where root is at home on this machine, as /etc/passwd has it: a program that is started with an empty environment looks there.

const entry = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"))
  .find(([, , uid]) => uid === "0");
if (entry === undefined) throw new Error("/etc/passwd: expected a user with uid 0, found none");

/** Root's home folder. */
export const rootHome = entry[5];

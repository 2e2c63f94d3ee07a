// The program's version, as deno.json has it.

import project from "../../deno.json" with { type: "json" };

export const programVersion: string = project.version;

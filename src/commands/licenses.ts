// `zonebench licenses`: the licences of all that is shipped, with their texts. The program carries them.

import { Command } from "commander";
import { z } from "zod";
import { withJson } from "./common.ts";
import { CommandFailed, examples, print, printJson, printTable } from "./output.ts";

/** What is read of `bom/licenses.json`. */
const catalogue = z.object({
  components: z.array(z.object({
    ecosystem: z.string(),
    name: z.string(),
    version: z.string(),
    license: z.string(),
    parts: z.array(z.string()),
    texts: z.array(z.string()),
    note: z.string().optional(),
  })),
  texts: z.record(z.string(), z.string()),
});

type Catalogue = z.infer<typeof catalogue>;
type Component = Catalogue["components"][number];

/** The project itself stands at the head of the list. */
const own = { name: "zonebench", license: "Apache-2.0" } as const;

export function licensesCommand(): Command {
  const command = withJson(
    new Command("licenses").description("the licences of all that is shipped, and their texts"),
    "[{name, version, ecosystem, license, parts, note?}] as JSON, with NAME each with its texts",
  )
    .argument("[NAME]", "package whose licence is printed in full, e.g. zod or rustls@0.23.46")
    .action(run);
  return examples(command, [
    "zonebench licenses",
    "zonebench licenses rustls",
    "zonebench licenses zonebench               the project's own",
  ]);
}

async function run(name: string | undefined, { json }: { json?: boolean }): Promise<void> {
  // Some hundred kilobytes that no other command needs.
  const { default: file } = await import("../../bom/licenses.json", { with: { type: "json" } });
  const { components, texts } = catalogue.parse(file);
  if (name === undefined) return list(components, json);
  const found = components.filter((it) => it.name === name || `${it.name}@${it.version}` === name);
  if (name === own.name) found.push(await project(texts));
  if (found.length === 0) {
    throw new CommandFailed(`nothing of that name is shipped: ${name}; zonebench licenses lists what is`);
  }
  for (const component of found) {
    const whole = component.texts.map((key) => texts[key]);
    if (json) {
      printJson({ ...shown(component), texts: whole });
      continue;
    }
    print(`${`${component.name} ${component.version}`.trim()}: ${component.license}`);
    if (component.note !== undefined) print(component.note);
    for (const text of whole) print(`\n${text.trimEnd()}`);
    print("");
  }
}

async function project(texts: Record<string, string>): Promise<Component> {
  const { default: text } = await import("../../LICENSE", { with: { type: "text" } });
  texts[own.name] = text;
  return { ...own, version: "", ecosystem: "own", parts: ["program"], texts: [own.name] };
}

function list(components: readonly Component[], json?: boolean): void {
  if (json) {
    printJson(components.map(shown));
    return;
  }
  printTable(
    ["NAME", "VERSION", "LICENCE", "FROM", "PART OF"],
    [
      [own.name, "", own.license, "", "program"],
      ...components.map((it) => [
        it.name,
        it.version,
        it.license,
        { npm: "npm", cargo: "crates.io" }[it.ecosystem] ?? "",
        it.parts.join(", "),
      ]),
    ],
  );
  print("\nA text in full: zonebench licenses NAME");
}

function shown({ name, version, ecosystem, license, parts, note }: Component) {
  return { name, version, ecosystem, license, parts, note };
}

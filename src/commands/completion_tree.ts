// What shells complete: the commands with their options and arguments, read from the command line's own description.

import type { Argument, Command, Option } from "commander";

/** What a value is: files, folders, one of some words, or anything. */
export type CompletionValue =
  | { readonly kind: "file" | "directory" | "text" }
  | { readonly kind: "words"; readonly words: readonly string[] };

/** An option. */
export interface CompletionOption {
  /** `--format`, and `-f` where there is one. */
  readonly names: readonly string[];
  readonly description: string;
  /** The value that follows. @default it takes none */
  readonly value?: {
    readonly name: string;
    readonly what: CompletionValue;
    /** Whether it may be left out. */
    readonly optional: boolean;
    /** Whether several may follow. */
    readonly variadic: boolean;
  };
  /** Whether it may be given again. */
  readonly repeatable: boolean;
}

/** An argument. */
export interface CompletionArgument {
  readonly name: string;
  readonly what: CompletionValue;
  readonly variadic: boolean;
}

/** A command. */
export interface CompletionCommand {
  /** Names from the program's first command on: `["update", "start"]`; empty for the program. */
  readonly path: readonly string[];
  /** One line. */
  readonly description: string;
  readonly commands: readonly CompletionCommand[];
  readonly options: readonly CompletionOption[];
  readonly arguments: readonly CompletionArgument[];
}

/** Reads the tree. @param command the program */
export function completionTree(command: Command, path: readonly string[] = []): CompletionCommand {
  const help = command.createHelp();
  // Each group of commands has a help command too; the program's is enough.
  const commands = help.visibleCommands(command).filter((it) => path.length === 0 || it.name() !== "help");
  return {
    path,
    description: oneLine(command.description()),
    commands: commands.map((it) => {
      const below = completionTree(it, [...path, it.name()]);
      if (it.name() !== "help") return below;
      const words = commands.map((other) => other.name());
      return { ...below, arguments: [{ name: "command", what: { kind: "words", words }, variadic: false }] };
    }),
    options: help.visibleOptions(command).map(optionOf),
    arguments: command.registeredArguments.map(argumentOf),
  };
}

/** All commands of a tree, each before those below it. */
export function allCommands(command: CompletionCommand): CompletionCommand[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

function optionOf(option: Option): CompletionOption {
  const names = [option.long, option.short].filter((it): it is string => typeof it === "string");
  const common = {
    names,
    description: oneLine(option.description),
    // A default of a list is what collects what is given again and again.
    repeatable: option.variadic || Array.isArray(option.defaultValue),
  };
  if (!option.required && !option.optional) return common;
  const name = /[<[]([^\]>.]+)/.exec(option.flags)?.[1] ?? "value";
  return {
    ...common,
    value: {
      name,
      what: valueOf(name, option.argChoices, option.parseArg),
      optional: option.optional,
      variadic: option.variadic,
    },
  };
}

function argumentOf(argument: Argument): CompletionArgument {
  const name = argument.name();
  return {
    name,
    what: valueOf(name, argument.argChoices, argument.parseArg),
    variadic: argument.variadic,
  };
}

/** Words are told by the choices, of Commander or of a parser of ours; files and folders by the value's name. */
function valueOf(name: string, choices: readonly string[] | undefined, parse: unknown): CompletionValue {
  const words = choices ?? choicesOf(parse);
  if (words !== undefined) return { kind: "words", words };
  if (/(?:^|_)(?:file|path)$/i.test(name)) return { kind: "file" };
  return { kind: /(?:^|_)dir$/i.test(name) ? "directory" : "text" };
}

function choicesOf(parse: unknown): readonly string[] | undefined {
  if (typeof parse !== "function" || !("choices" in parse) || !Array.isArray(parse.choices)) return undefined;
  return parse.choices.filter((it) => typeof it === "string");
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}

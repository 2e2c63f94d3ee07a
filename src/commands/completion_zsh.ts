// Completion for zsh, with its own _arguments and _describe: descriptions are shown beside what is offered.

import {
  allCommands,
  type CompletionCommand,
  type CompletionOption,
  type CompletionValue,
} from "./completion_tree.ts";

/** Makes the script; it can be sourced, or stand as _NAME in a folder of $fpath. @param program name of the program */
export function zshCompletion(program: string, tree: CompletionCommand): string {
  const functions = allCommands(tree).map((it) => functionOf(program, it));
  return `#compdef ${program}
# zsh completion for ${program}
# Load it with: source <(${program} completion zsh), after compinit

${functions.join("\n\n")}

if [[ $funcstack[1] == _${program} ]]; then
  _${program} "$@"
else
  compdef _${program} ${program}
fi
`;
}

function functionOf(program: string, command: CompletionCommand): string {
  const name = nameOf(program, command);
  const options = command.options.flatMap(optionSpecs);
  if (command.commands.length === 0) {
    const places = command.arguments.map(({ name, what, variadic }, at) =>
      quoted(`${variadic ? "*" : at + 1}:${escaped(name)}:${actionOf(what)}`)
    );
    return `${name}() {\n  ${["_arguments -s -S", ...options, ...places].join(" \\\n    ")}\n}`;
  }
  const offered = command.commands.map((it) => `    ${quoted(`${lastOf(it)}:${it.description}`)}`);
  const cases = command.commands.map((it) => `        ${lastOf(it)}) ${nameOf(program, it)} ;;`);
  const specs = [...options, quoted("1: :->command"), quoted("*:: :->rest")];
  return `${name}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a commands=(
${offered.join("\n")}
  )
  ${["_arguments -C", ...specs].join(" \\\n    ")}
  case $state in
    command) _describe -t commands command commands ;;
    rest)
      case $line[1] in
${cases.join("\n")}
      esac
      ;;
  esac
}`;
}

function optionSpecs({ names, description, value, repeatable }: CompletionOption): string[] {
  return names.map((name) => {
    // --name= takes the value in the same word or in the next one.
    const sign = value === undefined || !name.startsWith("--") ? "" : "=";
    const text = value === undefined
      ? ""
      : `${value.optional ? "::" : ":"}${escaped(value.name)}:${actionOf(value.what)}`;
    const others = repeatable || names.length === 1 ? "" : `(${names.join(" ")})`;
    return quoted(`${repeatable ? "*" : others}${name}${sign}[${escaped(description)}]${text}`);
  });
}

function actionOf(what: CompletionValue): string {
  switch (what.kind) {
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "words":
      return `(${what.words.join(" ")})`;
    case "text":
      // A space: there is something to give, and nothing to offer.
      return " ";
  }
}

function nameOf(program: string, { path }: CompletionCommand): string {
  return ["", program, ...path].join("_").replaceAll("-", "_");
}

function lastOf({ path }: CompletionCommand): string {
  return path[path.length - 1];
}

/** Within an argument of _arguments. */
function escaped(text: string): string {
  return text.replaceAll(/[\\:[\]]/g, "\\$&");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

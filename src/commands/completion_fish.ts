// Completion for fish 3 and later.

import {
  allCommands,
  type CompletionCommand,
  type CompletionOption,
  type CompletionValue,
} from "./completion_tree.ts";

/** Makes the script. @param program name of the program */
export function fishCompletion(program: string, tree: CompletionCommand): string {
  const commands = allCommands(tree);
  const paths = commands.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(" ")));
  const taking = commands.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) =>
      value === undefined || value.variadic ? [] : names.map((name) => quoted([...path, name].join(" ")))
    )
  );
  const takingMany = commands.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) =>
      value?.variadic ? names.map((name) => quoted([...path, name].join(" "))) : []
    )
  );
  return `# fish completion for ${program}
# Load it with: ${program} completion fish | source

# Whether the cursor is behind the command $argv[1], and at its argument number $argv[2] where that is given ("+": any).
function __${program}_at
    set -l commands ${paths.join(" ")}
    set -l taking ${taking.join(" ")}
    set -l many ${takingMany.join(" ")}
    set -l path
    set -l position 0
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1; and not string match -q -- '-*' $word
            set skip 0
            continue
        end
        if test $skip = 2; and not string match -q -- '-*' $word
            continue
        end
        set skip 0
        set -l next (string join ' ' -- $path $word)
        if string match -q -- '-*' $word
            if contains -- $next $taking
                set skip 1
            else if contains -- $next $many
                set skip 2
            end
        else if test $position = 0; and contains -- $next $commands
            set -a path $word
        else
            set position (math $position + 1)
        end
    end
    test "$path" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    test $skip = 0; or return 1
    test "$argv[2]" = + -o "$argv[2]" = $position
end

complete -c ${program} -f
${commands.flatMap((it) => linesOf(program, it)).join("\n")}
`;
}

function linesOf(program: string, command: CompletionCommand): string[] {
  const at = (...more: string[]) =>
    `complete -c ${program} -n ${
      quoted([`__${program}_at ${quoted(command.path.join(" "))}`, ...more].join(" "))
    }`;
  return [
    ...command.commands.map((it) => `${at("0")} -a ${lastOf(it)} -d ${quoted(it.description)}`),
    ...command.options.map((option) => `${at()} ${optionFlags(option)} -d ${quoted(option.description)}`),
    ...command.arguments.flatMap(({ what, variadic }, index) => {
      const offer = offerOf(what);
      return offer === "" ? [] : [`${at(variadic ? "+" : String(index))} ${offer}`];
    }),
  ];
}

function optionFlags({ names, value }: CompletionOption): string {
  const flags = names.map((name) => name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`);
  if (value === undefined) return flags.join(" ");
  // What may be left out must not be asked for; files are offered where they are the value alone.
  const needs = value.optional ? "" : value.what.kind === "file" ? "-r" : "-x";
  return [...flags, needs, offerOf(value.what)].filter((it) => it !== "").join(" ");
}

function offerOf(what: CompletionValue): string {
  switch (what.kind) {
    case "file":
      return "-F";
    case "directory":
      return "-a '(__fish_complete_directories)'";
    case "words":
      return `-a ${quoted(what.words.join(" "))}`;
    case "text":
      return "";
  }
}

function lastOf({ path }: CompletionCommand): string {
  return path[path.length - 1];
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

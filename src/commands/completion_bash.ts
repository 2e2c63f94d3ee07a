// Completion for bash 4 and later; it needs nothing but bash.

import { allCommands, type CompletionCommand, type CompletionValue } from "./completion_tree.ts";

/** Makes the script. @param program name of the program */
export function bashCompletion(program: string, tree: CompletionCommand): string {
  const commands = allCommands(tree);
  const subcommands = commands.filter((it) => it.commands.length > 0)
    .map((it) => `    ${quoted(keyOf(it))}) words=${quoted(it.commands.map(nameOf).join(" "))} ;;`);
  const options = commands.map((it) =>
    `    ${quoted(keyOf(it))}) words=${quoted(it.options.flatMap(({ names }) => names).join(" "))} ;;`
  );
  const values = commands.flatMap((it) =>
    it.options.flatMap(({ names, value }) =>
      value === undefined ? [] : [
        `    ${names.map((name) => quoted(`${keyOf(it)} ${name}`)).join(" | ")}) ` +
        `${kindOf(value.what)}${value.variadic ? " many=1" : ""} ;;`,
      ]
    )
  );
  const places = commands.flatMap((it) =>
    it.arguments.map(({ what, variadic }, at) =>
      `    ${quoted(`${keyOf(it)}:`)}${variadic ? "*" : at}) ${kindOf(what)} ;;`
    )
  );
  return `# bash completion for ${program}
# Load it with: source <(${program} completion bash)

_${program}_commands() {
  words=
  case $1 in
${subcommands.join("\n")}
  esac
}

_${program}_options() {
  words=
  case $1 in
${options.join("\n")}
  esac
}

# Sets kind (and words) to what the option's value is, many where several may follow; fails where it takes none.
_${program}_value() {
  kind= words= many=
  case $1 in
${values.join("\n")}
    *) return 1 ;;
  esac
}

_${program}_argument() {
  kind=text words=
  case $1 in
${places.join("\n")}
  esac
}

_${program}_offer() {
  case $1 in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2") ;;
    file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$2")
      ;;
    directory)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$2")
      ;;
  esac
}

_${program}() {
  local words kind many word option command= position=0 at=1 ended= pending= cur=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  # Bash takes --option=value apart at the sign.
  [[ $cur == = ]] && cur=
  while ((at < COMP_CWORD)); do
    word=\${COMP_WORDS[at]}
    ((at++))
    [[ $word == = ]] && continue
    if [[ -n $pending && $word != -* ]]; then
      [[ $pending == one ]] && pending=
      continue
    fi
    pending=
    if [[ -n $ended || $word != -* ]]; then
      _${program}_commands "$command"
      if [[ -z $ended && $position == 0 && " $words " == *" $word "* ]]; then
        command+=" $word"
      else
        ((position++))
      fi
    elif [[ $word == -- ]]; then
      ended=1
    elif _${program}_value "$command $word"; then
      pending=\${many:+many}
      pending=\${pending:-one}
      option=$word
    fi
  done
  if [[ -n $pending && $cur != -* ]]; then
    _${program}_value "$command $option"
    _${program}_offer "$kind" "$cur"
  elif [[ -z $ended && $cur == -* ]]; then
    _${program}_options "$command"
    _${program}_offer words "$cur"
  else
    _${program}_commands "$command"
    if [[ -n $words && $position == 0 ]]; then
      _${program}_offer words "$cur"
    else
      _${program}_argument "$command:$position"
      _${program}_offer "$kind" "$cur"
    fi
  fi
}

complete -F _${program} ${program}
`;
}

function keyOf({ path }: CompletionCommand): string {
  return path.map((name) => ` ${name}`).join("");
}

function nameOf({ path }: CompletionCommand): string {
  return path[path.length - 1];
}

function kindOf(what: CompletionValue): string {
  return what.kind === "words" ? `kind=words words=${quoted(what.words.join(" "))}` : `kind=${what.kind}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

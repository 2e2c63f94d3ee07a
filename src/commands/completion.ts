// `zonebench completion`: scripts by which a shell completes this program's command line.

import { Argument, Command } from "commander";
import { bashCompletion } from "./completion_bash.ts";
import { fishCompletion } from "./completion_fish.ts";
import { completionTree } from "./completion_tree.ts";
import { zshCompletion } from "./completion_zsh.ts";
import { examples, print } from "./output.ts";

const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

type Shell = keyof typeof scripts;

export function completionCommand(): Command {
  const command = new Command("completion")
    .description("prints a script by which a shell completes commands, options, choices and files")
    .addArgument(new Argument("<SHELL>", "bash, zsh or fish").choices(Object.keys(scripts)))
    .action((shell: Shell, _options: unknown, own: Command) => {
      const program = own.parent ?? own;
      print(scripts[shell](program.name(), completionTree(program)).trimEnd());
    });
  return examples(command, [
    "source <(zonebench completion bash)        in ~/.bashrc",
    "source <(zonebench completion zsh)         in ~/.zshrc, after compinit",
    "zonebench completion fish | source         in ~/.config/fish/config.fish",
  ]);
}

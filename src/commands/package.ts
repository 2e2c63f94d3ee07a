// `zonebench package`: update packages as files, without a server.

import { Command } from "commander";
import { packageBuildCommand } from "./package_build.ts";
import { packageDiffCommand } from "./package_diff.ts";
import { packageInspectCommand, packageVerifyCommand } from "./package_read.ts";
import { examples } from "./output.ts";

export function packageCommand(): Command {
  const command = new Command("package").description("update packages (.otap) as files, without a server");
  command.addCommand(packageBuildCommand()).addCommand(packageInspectCommand())
    .addCommand(packageVerifyCommand()).addCommand(packageDiffCommand());
  return examples(command, [
    "zonebench package build --out body.otap ECU_005=body.hex@1.2.0",
    "zonebench package inspect body.otap",
    "zonebench package verify body.otap --vin KMHZB00BENCH00001",
    "zonebench package diff old.otap new.otap",
  ]);
}

// `zonebench firmware`: images into the server's catalogue, and what it holds.

import { Command, InvalidArgumentError } from "commander";
import { basename } from "node:path";
import { releaseVersion } from "../contract/identifiers.ts";
import type { Firmware } from "../contract/ota.ts";
import type { PackageCondition } from "../contract/package.ts";
import {
  formatCondition,
  formatDependency,
  type ImageDependency,
  parseCondition,
  parseDependency,
} from "../contract/requirements.ts";
import { routes } from "../contract/routes.ts";
import {
  asOperator,
  interruption,
  makeCommand,
  oneOf,
  type OperatorOptions,
  withJson,
  withOperator,
} from "./common.ts";
import { type FirmwareFileOptions, releaseNumber, withFirmwareFile } from "./firmware_file.ts";
import { CommandFailed, examples, formatSize, print, printJson, printTable, Progress } from "./output.ts";

interface AddOptions extends OperatorOptions, FirmwareFileOptions {
  ecuType: string;
  hardware: string;
  version: string;
  priority: "low" | "normal" | "high" | "critical";
  release?: number;
  dependsOn?: ImageDependency[];
  condition?: PackageCondition[];
}

export function firmwareCommand(): Command {
  const command = new Command("firmware").description("images in the server's catalogue");
  return command.addCommand(add()).addCommand(list());
}

function add(): Command {
  const command = withJson(
    withOperator(makeCommand("add", "adds an Intel HEX, S-record, VBF or raw binary file")),
    "{image_id, sha256, size, target} as JSON",
  )
    .argument("<FILE>")
    .requiredOption("--ecu-type <type>", "kind of ECU that the image is for, e.g. BODY_CONTROLLER")
    .requiredOption(
      "--hardware <version>",
      "hardware version that it runs on, as the ECU reports it, e.g. 1.0",
    )
    .requiredOption("--version <version>", "semantic version of the image, e.g. 1.2.0", semanticVersion);
  withFirmwareFile(command)
    .option(
      "--priority <priority>",
      "low, normal, high or critical",
      oneOf(["low", "normal", "high", "critical"]),
      "normal",
    )
    .option(
      "--release <n>",
      "release counter, 0 to 4294967295: an ECU that counts takes no release below the one that it has committed, so " +
        "a newer version must not have a lower one (default: none, which counts as 0)",
      releaseNumber,
    )
    .option(
      "--depends-on <ecu_type[@version]...>",
      "the vehicle must have an ECU of this type, with this version or a newer one, now or by the same update; it is " +
        "activated before this one",
      collected(parseDependency),
    )
    .option(
      "--condition <limit...>",
      "what must hold in the vehicle before ECUs are changed: a telemetry signal with <=, >= or =, e.g. 'speed<=0'",
      collected(parseCondition),
    )
    .action(addFile);
  return examples(command, [
    "zonebench firmware add body.hex --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.2.0",
    "zonebench firmware add brake.bin --base-address 0x8000 --ecu-type BRAKE_CONTROLLER --hardware 1.0 --version 2.0.0",
    "zonebench firmware add body.hex --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.3.0 --release 4 " +
    "--depends-on DOOR_MODULE@2.0.0 --condition 'speed<=0' 'battery_soc>=30'",
  ]);
}

/** Parser for an option that may be given several values. */
function collected<T>(parse: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => {
    try {
      return [...before, parse(text)];
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new InvalidArgumentError(error.message);
    }
  };
}

async function addFile(file: string, options: AddOptions): Promise<void> {
  let size: number;
  try {
    const info = await Deno.stat(file);
    if (!info.isFile) throw new CommandFailed(`${file}: expected a file`);
    size = info.size;
  } catch (cause) {
    if (cause instanceof CommandFailed) throw cause;
    throw new CommandFailed(`${file}: cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  using stop = interruption();
  using progress = new Progress(options.json);
  const image = await asOperator(options, (client) =>
    client.upload(routes.addFirmware, {
      query: {
        ecu_type: options.ecuType,
        hw_version: options.hardware,
        version: options.version,
        format: options.format,
        base_address: options.baseAddress,
        priority: options.priority,
        file_name: basename(file).slice(0, 128),
        release: options.release,
        depends_on: options.dependsOn?.map(formatDependency).join(","),
        conditions: options.condition?.map(formatCondition).join(","),
      },
      stream: readWithProgress(file, size, progress),
      signal: stop.signal,
      timeout: 600_000,
    }));
  progress[Symbol.dispose]();
  if (options.json) {
    const { image_id, sha256, size, target, staged_file } = image;
    printJson({ image_id, sha256, size, target, ...staged_file === undefined ? {} : { staged_file } });
    return;
  }
  print(`Image ${image.image_id}: ${image.ecu_type} hardware ${image.hw_version} version ${image.version}`);
  print(
    `  ${image.format}, ${formatSize(image.size)}, ${image.segments.length} segment(s), ` +
      `${formatSize(image.payload_size)} to flash`,
  );
  print(`  SHA-256 ${image.sha256}`);
  const asks = requirementsOf(image);
  if (asks !== "") print(`  ${asks}`);
  if (image.target === "published") {
    print(`Next: zonebench update start --vin VIN`);
    return;
  }
  print(`Not given to vehicles yet: keys of the role that signs it are not where the server is`);
  const waiting = image.staged_file ?? "staged/image/N.targets.json";
  print(`Next, in the folder of the repositories: zonebench repo sign ${waiting} --key FILE`);
  print(`then: zonebench repo publish`);
}

/** `release 4, needs DOOR_MODULE@2.0.0, only when speed<=0` */
function requirementsOf({ release, depends_on, conditions }: Firmware): string {
  return [
    ...release === null ? [] : [`release ${release}`],
    ...depends_on.length === 0 ? [] : [`needs ${depends_on.map(formatDependency).join(", ")}`],
    ...conditions.length === 0 ? [] : [`only when ${conditions.map(formatCondition).join(" and ")}`],
  ].join(", ");
}

/** Said before gigabytes are sent that the server would refuse. */
function semanticVersion(text: string): string {
  if (releaseVersion.safeParse(text).success) return text;
  throw new InvalidArgumentError(`expected a semantic version such as 1.10.0, got ${JSON.stringify(text)}`);
}

async function* readWithProgress(file: string, size: number, progress: Progress): AsyncGenerator<Uint8Array> {
  using handle = await Deno.open(file, { read: true });
  let sent = 0;
  for (;;) {
    const part = new Uint8Array(256 * 1024);
    const read = await handle.read(part);
    if (read === null) break;
    sent += read;
    progress.update(size === 0 ? 1 : sent / size, `sending ${basename(file)}, ${formatSize(sent)}`);
    yield part.subarray(0, read);
  }
  progress.update(1, "checking and storing");
}

function list(): Command {
  return withJson(withOperator(makeCommand("list", "shows the catalogue")), "images as JSON")
    .option("--ecu-type <type>", "only images for this kind of ECU")
    .action(async (options: OperatorOptions & { ecuType?: string }) => {
      const { images, total } = await asOperator(
        options,
        (client) => client.call(routes.listFirmware, { query: { limit: 1000, ecu_type: options.ecuType } }),
      );
      if (options.json) {
        printJson(images);
        return;
      }
      if (images.length === 0) print("The catalogue is empty. Add an image: zonebench firmware add --help");
      else {
        printTable(
          ["IMAGE", "ECU TYPE", "HARDWARE", "VERSION", "FORMAT", "SIZE", "SHA-256", "TARGET", "ASKS FOR"],
          images.map((it) => [
            it.image_id,
            it.ecu_type,
            it.hw_version,
            it.version,
            it.format,
            formatSize(it.payload_size),
            it.sha256.slice(0, 16),
            it.target,
            requirementsOf(it),
          ]),
        );
        if (total > images.length) {
          print(`… and ${total - images.length} older ones: --ecu-type shows less at once`);
        }
      }
    });
}

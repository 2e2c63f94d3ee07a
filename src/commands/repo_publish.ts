// `zonebench repo publish`: an image into the Image repository, by the targets or a delegated role; what was signed is given out.

import { type Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import { z } from "zod";
import { parseFirmware } from "../../hardware/flash/format/parse_firmware.ts";
import * as id from "../contract/identifiers.ts";
import { toDownload } from "../server/ota/catalogue.ts";
import { delegatedRoles } from "../server/uptane/delegated_roles.ts";
import type { RepositoryAuthor } from "../server/uptane/repository_author.ts";
import type { RepositoryDirectory } from "../server/uptane/repository_directory.ts";
import type { Written } from "../server/uptane/roles.ts";
import { imageTarget, imageTargetName } from "../uptane/image_target.ts";
import { mustMatch, type Target, targetName } from "../uptane/models.ts";
import { address, firmwareFormats, interruption, makeCommand, oneOf } from "./common.ts";
import { unreadable } from "./key_files.ts";
import { examples, UsageError } from "./output.ts";
import { failing, open, printNext, printWritten, type RepoOptions, repoOptions } from "./repo_folder.ts";
import { imageRole } from "./repo_settings.ts";

interface PublishOptions extends RepoOptions {
  role?: string;
  ecuType?: string;
  hardware: string[];
  version?: string;
  name?: string;
  releaseCounter?: number;
  format: typeof firmwareFormats[number];
  baseAddress?: number;
}

export function repoPublishCommand(): Command {
  const command = repoOptions(
    makeCommand(
      "publish",
      "puts an image into the Image repository; without FILE, gives out what was staged and makes a new snapshot and timestamp",
    ),
    "files as JSON",
  )
    .addOption(
      new Option(
        "--role <role>",
        "targets, or the delegated role that signs it; without FILE: its metadata is made anew, to be good for longer " +
          "(default: targets)",
      ).argParser(imageRole),
    )
    .argument("[FILE]", "Intel HEX, S-record, VBF or raw binary; its payload is what is signed")
    .option("--ecu-type <type>", "kind of ECU that the image is for, e.g. BODY_CONTROLLER")
    .option(
      "--hardware <version>",
      "hardware version that it runs on; may be given again",
      (value: string, before: string[]) => [...before, value],
      [],
    )
    .option("--version <version>", "semantic version of the image, e.g. 1.2.0")
    .option(
      "--name <name>",
      "name in the repository (default: TYPE/HARDWARE/VERSION.bin, as a server calls it)",
    )
    .option(
      "--release-counter <number>",
      "ECUs take no lower one afterwards (default: one more than the highest of the type)",
      releaseCounter,
    )
    .option("--format <format>", "auto, intel-hex, s-record, vbf or binary", oneOf(firmwareFormats), "auto")
    .option("--base-address <address>", "first address of a raw binary, e.g. 0x8000", address)
    .action(async (file: string | undefined, options: PublishOptions) => {
      const { directory, author } = await open(options);
      const written = await failing(directory, async () => {
        const settled = await author.settle();
        const made = file !== undefined
          ? await publishFile(file, options, directory, author)
          : options.role === undefined
          ? undefined
          : await author.renew(options.role);
        const waiting = made?.staged !== undefined;
        return [
          // What waited is said once, as it is by now.
          ...settled.filter((it) => it.staged === undefined || it.fileName !== made?.fileName),
          ...made === undefined ? [] : [made],
          ...waiting ? [] : await author.release(),
        ];
      });
      printWritten(written, options);
      if (!options.json) printNext(directory, written);
    });
  return examples(command, [
    "zonebench repo publish body.hex --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.2.0",
    "zonebench repo publish body.hex --role supplier --ecu-type BODY_CONTROLLER --hardware 1.0 --version 1.2.0",
    "zonebench repo publish --role supplier",
    "zonebench repo publish",
  ]);
}

function releaseCounter(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("expected a whole number from 0 on");
  return Number(text);
}

const publishing = z.object({
  ecuType: id.ecuType,
  hardware: z.array(id.hwVersion).min(1),
  version: id.releaseVersion,
});

async function publishFile(
  file: string,
  options: PublishOptions,
  directory: RepositoryDirectory,
  author: RepositoryAuthor,
): Promise<Written | undefined> {
  const { success, data, error } = publishing.safeParse(options);
  if (!success) {
    const [{ path: [name], message }] = error.issues;
    const flag = String(name).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const missing = name === "hardware"
      ? options.hardware.length === 0
      : options[name === "ecuType" ? name : "version"] === undefined;
    throw new UsageError(`--${flag}: ${missing ? "must be given with FILE" : message}`);
  }
  const { ecuType, hardware, version } = data;
  const name = targetName.safeParse(
    options.name ?? imageTargetName({ ecuType, hwVersion: hardware[0], version }),
  );
  if (!name.success) throw new UsageError(`--name: ${name.error.issues[0].message}`);
  const { signed } = await directory.root("image"); // Whether there is a repository at all, before anything is read.
  if (signed._type !== "root") throw new TypeError("expected a root");
  const counter = options.releaseCounter ?? await nextReleaseCounter(directory, ecuType);
  using stop = interruption();
  const payload = join(directory.path, `payload.${crypto.randomUUID()}.tmp`);
  try {
    const parsed = await parse(file, options, payload, stop.signal);
    const sha256 = parsed.payloadSha256.toHex();
    const path = directory.imagePath(name.data, sha256);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.rename(payload, path);
    const target = imageTarget({
      ecuType,
      hwVersion: hardware[0],
      version,
      segments: parsed.segments,
      download: parsed.hints && toDownload(parsed.hints),
      sha256,
      size: parsed.payloadSize,
      releaseCounter: counter,
    });
    const match = mustMatch.parse({ ...target.custom?.must_match, hardware_ids: hardware });
    const published = { [name.data]: { ...target, custom: { must_match: match } } };
    return await author.publish(published, { role: options.role });
  } finally {
    await Deno.remove(payload).catch((error) => {
      // It has its place by then, or was never made.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/** One more than the highest of the type, whoever signed it. */
async function nextReleaseCounter(directory: RepositoryDirectory, ecuType: string): Promise<number> {
  const top = (await directory.newest("image", "targets"))?.metadata.signed ?? { targets: {} };
  const roles = await delegatedRoles(directory, top, (await directory.shown("image"))?.signed);
  const images: Target[] = [top, ...[...roles.values()].map(({ good }) => good?.metadata.signed)]
    .flatMap((it) => Object.values(it?.targets ?? {}));
  const counters = images.flatMap(({ custom }) =>
    custom?.must_match?.ecu_types?.includes(ecuType) === true ? [custom.must_match.release_counter ?? 0] : []
  );
  return 1 + Math.max(0, ...counters);
}

async function parse(file: string, options: PublishOptions, output: string, signal: AbortSignal) {
  let handle: Deno.FsFile;
  try {
    handle = await Deno.open(file, { read: true });
  } catch (error) {
    throw unreadable(file, error);
  }
  const { format, baseAddress } = options;
  return await parseFirmware(handle.readable, { format, baseAddress, output, signal });
}

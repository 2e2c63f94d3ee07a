// `zonebench pki`: the certificate authority of a bench and what it issues.

import { Command, InvalidArgumentError, Option } from "commander";
import { join } from "node:path";
import {
  initAuthority,
  issueBroker,
  issueGateway,
  issueOperator,
  type IssueOptions,
  type IssueResult,
  issueServer,
  issueServerClient,
  issueTester,
  issueVehicle,
} from "../pqc/authority.ts";
import type { Config } from "../config/schema.ts";
import { InvalidName } from "../pqc/errors.ts";
import { type Profile, profileById } from "../pqc/profiles.ts";
import { showCertificates } from "../pqc/pki_directory.ts";
import { type CommonOptions, configOf, foldersOf, makeCommand, withJson } from "./common.ts";
import { clientProfile, serverProfiles } from "./tls.ts";
import { placeGateways } from "./bench_description.ts";
import { testerAlgorithms } from "./ecu_authentication.ts";
import { examples, print, printJson, printTable, UsageError } from "./output.ts";
import { repositoryFolder } from "./uptane.ts";

export function pkiCommand(): Command {
  const command = new Command("pki").description("certificate authority and certificates under <data>/pki");
  command.addCommand(init()).addCommand(issue()).addCommand(show());
  return examples(command, [
    "zonebench pki init",
    "zonebench pki issue vehicle KMHZB00BENCH00001",
    "zonebench pki issue operator alice",
    "zonebench pki issue operator alice --profile 12",
    "zonebench pki issue gateway ZG_BODY",
    "zonebench pki issue broker broker.example --profile 0",
    "zonebench pki issue server-client --profile 0",
    "zonebench pki show",
  ]);
}

function init(): Command {
  return makeCommand(
    "init",
    "makes the authority, the package signing key and the server's certificates, for server.tls.profiles",
  )
    .action(async (options: CommonOptions) => {
      const config = await configOf(options);
      const directory = foldersOf(options.data).pki;
      const algorithms = new Set(serverProfiles(config).map((profile) => profile.certificateAlgorithm));
      const { certificateAlgorithm } = clientProfile(config);
      const { created } = await initAuthority({
        directory,
        algorithms: [...algorithms, certificateAlgorithm],
      });
      print(created ? `Authority made in ${directory}` : `Authority in ${directory} kept as it is`);
      for (const algorithm of algorithms) {
        tell(await issueServer({ directory, names: config.server.names, algorithm }));
      }
      for (const algorithm of testerAlgorithms(config.bench)) {
        tell(await issueTester({ directory, algorithm }));
      }
    });
}

interface IssueCommandOptions extends CommonOptions {
  force?: boolean;
  profile?: Profile;
}

function issue(): Command {
  const command = new Command("issue").description("issues a certificate");
  const leaf = (
    kind: string,
    argument: string | undefined,
    what: string,
    run: (name: string, options: IssueOptions, common: CommonOptions) => Promise<IssueResult>,
  ) => {
    const act = async (name: string, options: IssueCommandOptions) => {
      const { certificateAlgorithm } = options.profile ?? clientProfile(await configOf(options));
      const issueOptions = {
        directory: foldersOf(options.data).pki,
        algorithm: certificateAlgorithm,
        force: options.force ?? false,
      };
      tell(
        await run(name, issueOptions, options).catch((cause) => {
          throw cause instanceof InvalidName ? new UsageError(cause.message, { cause }) : cause;
        }),
      );
      if (kind === "vehicle") print(await gatewayFiles(options));
    };
    const made = makeCommand(kind, what)
      .option("--force", "issue anew even when the present one is good")
      .addOption(
        new Option(
          "--profile <id>",
          "PQC profile that it is for: its certificate algorithm (default: vmg.tls.profile, else the server's first)",
        ).argParser(profileId),
      );
    return argument === undefined
      ? made.action((options: IssueCommandOptions) => act("", options))
      : made.argument(argument).action(act);
  };
  command.addCommand(
    leaf(
      "vehicle",
      "<VIN>",
      "for a vehicle: it may reach its own routes and topics",
      issueVehicle,
    ),
  );
  command.addCommand(
    leaf(
      "operator",
      "<NAME>",
      "for an operator: a person or a test that drives the bench",
      issueOperator,
    ),
  );
  command.addCommand(
    leaf(
      "gateway",
      "<ID>",
      "for a zonal gateway of the bench file that answers DoIP over TLS",
      async (zonalGatewayId, issueOptions, options) =>
        await issueGateway(zonalGatewayId, {
          ...issueOptions,
          names: namesOfGateway(await configOf(options), zonalGatewayId),
        }),
    ),
  );
  command.addCommand(
    leaf(
      "broker",
      "<HOST>",
      "for an external MQTT broker that is reached by that name or address",
      (name, issueOptions, { also }: CommonOptions & { also?: string[] }) =>
        issueBroker(name, { ...issueOptions, names: also ?? [] }),
    ).option(
      "--also <name>",
      "another name by which it is reached, e.g. a load balancer's; may be given again",
      (value: string, before: string[] | undefined) => [...before ?? [], value],
    ),
  );
  command.addCommand(
    leaf(
      "server-client",
      undefined,
      "for the server as a client of an external MQTT broker",
      (_name, issueOptions) => issueServerClient(issueOptions),
    ),
  );
  return command;
}

/** The name by which a gateway is reached over TLS: what the bench file says, else its address. @throws {UsageError} */
function namesOfGateway({ bench }: Config, zonalGatewayId: string): string[] {
  const placed = placeGateways(bench);
  const found = placed.find((it) => it.zonalGatewayId === zonalGatewayId);
  if (found === undefined) {
    const known = placed.map((it) => it.zonalGatewayId).join(", ");
    throw new UsageError(`no gateway ${zonalGatewayId} on the bench; there are ${known}`);
  }
  const name = found.tls?.server_name ?? found.hostname;
  if (name === undefined) {
    throw new UsageError(
      `${zonalGatewayId}: the bench file gives neither tls.server_name nor hostname to issue a certificate for`,
    );
  }
  return [name];
}

/** Parser for `--profile`. */
function profileId(text: string): Profile {
  try {
    return profileById(/^\d+$/.test(text) ? Number(text) : NaN);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InvalidArgumentError("expected the number of a profile, 0 to 12");
  }
}

/** What else a gateway on another machine is given. */
async function gatewayFiles(options: CommonOptions): Promise<string> {
  const folders = foldersOf(options.data);
  const repository = repositoryFolder(await configOf(options), folders);
  const roots = ["director", "image"].map((name) => join(repository, name, "1.root.json"));
  return `A gateway on another machine needs ca.crt and signing.pub of ${folders.pki} with them, and the first roots of the ` +
    `repositories, at the same places there: ${
      roots.join(", ")
    }. What must come back from it is the key that it signs its ` +
    `reports with, report.pub in its folder of the vehicle (made at its first start): enter it with ` +
    `"zonebench repo inventory add --vin VIN --ecu VMG_ID --key report.pub --primary"`;
}

function tell(result: IssueResult): void {
  const until = result.notAfter.toISOString().slice(0, 10);
  print(
    result.issued
      ? `Issued ${result.certificateFile} (until ${until}), key ${result.keyFile}`
      : `${result.certificateFile} is good until ${until}, kept`,
  );
}

function show(): Command {
  return withJson(makeCommand("show", "lists the certificates with their dates"), "certificates as JSON")
    .action(async (options: CommonOptions) => {
      const certificates = await showCertificates(foldersOf(options.data).pki);
      if (options.json) {
        printJson(certificates.map((it) => ({
          file: it.file,
          subject: it.subject,
          issuer: it.issuer,
          serial_number: it.serialNumber,
          algorithm: it.algorithm,
          not_before: it.notBefore.toISOString(),
          not_after: it.notAfter.toISOString(),
          names: it.names,
          sha256: it.fingerprint,
          days_left: it.daysLeft,
          has_key: it.hasKey,
        })));
        return;
      }
      printTable(
        ["FILE", "SUBJECT", "ALGORITHM", "NOT AFTER", "DAYS LEFT", "KEY", "NAMES"],
        certificates.map((it) => [
          it.file,
          it.subject,
          it.algorithm,
          it.notAfter.toISOString().slice(0, 10),
          String(it.daysLeft),
          it.hasKey ? "yes" : "no",
          it.names.join(" "),
        ]),
      );
    });
}

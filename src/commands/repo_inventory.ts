// `zonebench repo inventory`: public keys of vehicles' ECUs, with which the server checks what they report.

import { Command } from "commander";
import { routes } from "../contract/routes.ts";
import type { InventoryEcuAnswer } from "../contract/uptane.ts";
import { asOperator, makeCommand, type OperatorOptions, withJson, withOperator } from "./common.ts";
import { examples, print, printJson, printTable, UsageError } from "./output.ts";
import { readPublicKey } from "./key_files.ts";

interface EcuOptions extends OperatorOptions {
  vin: string;
  ecu: string;
}

/** Most ECUs that are asked for at a time. */
const pageSize = 1000;

export function repoInventoryCommand(): Command {
  const command = new Command("inventory").description(
    "the keys of vehicles' ECUs: reports of a vehicle that has some here are checked",
  );
  command.addCommand(add()).addCommand(list()).addCommand(remove());
  return examples(command, [
    "zonebench repo inventory add --vin KMHZB00BENCH00001 --ecu VMG-001 --key vmg.pub --primary",
    "zonebench repo inventory add --vin KMHZB00BENCH00001 --ecu ECU_001 --key ecu_001.pub",
    "zonebench repo inventory list --vin KMHZB00BENCH00001",
    "zonebench repo inventory remove --vin KMHZB00BENCH00001 --ecu ECU_001",
  ]);
}

function ofEcu(command: Command): Command {
  return command.requiredOption("--vin <vin>", "the vehicle").requiredOption("--ecu <id>", "its ECU");
}

function add(): Command {
  return withJson(
    ofEcu(withOperator(makeCommand("add", "enters an ECU's public keys, in place of those that it had"))),
    "the entry as JSON",
  )
    .requiredOption(
      "--key <file>",
      "public key (PEM, ECDSA P-256 or ML-DSA-65); may be given again: then all of them must sign. An ECU that signs " +
        "nothing gets the gateway's",
      (file: string, before: string[]) => [...before, file],
      [],
    )
    .option("--primary", "the ECU is the vehicle's gateway, which signs for the vehicle")
    .action(async (options: EcuOptions & { key: string[]; primary?: boolean }) => {
      if (options.key.length === 0) throw new UsageError("expected a public key: --key FILE");
      const keys: string[] = [];
      for (const file of options.key) keys.push((await readPublicKey(file)).keyval.public);
      const { vin, ecu: ecu_id, primary = false } = options;
      const entry = await asOperator(
        options,
        (client) => client.call(routes.addToInventory, { body: { vin, ecu_id, primary, keys } }),
      );
      if (options.json) return printJson(entry);
      print(`${entry.ecu_id} of ${entry.vin}: ${describe(entry)}`);
      for (const { algorithm, keyid } of entry.keys) print(`  ${algorithm} ${keyid}`);
    });
}

function list(): Command {
  return withJson(withOperator(makeCommand("list", "shows the keys that there are")), "entries as JSON")
    .option("--vin <vin>", "only this vehicle's")
    .action(async (options: OperatorOptions & { vin?: string }) => {
      const { vin } = options;
      const ecus: InventoryEcuAnswer[] = await asOperator(options, async (client) => {
        const all: InventoryEcuAnswer[] = [];
        for (let total = Infinity; all.length < total;) {
          const query = { limit: pageSize, offset: all.length, ...vin === undefined ? {} : { vin } };
          const page = await client.call(routes.listInventory, { query });
          total = page.ecus.length === 0 ? 0 : page.total;
          all.push(...page.ecus);
        }
        return all;
      });
      if (options.json) return printJson(ecus);
      if (ecus.length === 0) {
        return print("The inventory is empty. Enter a key: zonebench repo inventory add --help");
      }
      printTable(
        ["VIN", "ECU", "SIGNS", "ALGORITHM", "KEY", "LAST REPORT"],
        ecus.flatMap((ecu) =>
          ecu.keys.map(({ algorithm, keyid }) => [
            ecu.vin,
            ecu.ecu_id,
            describe(ecu),
            algorithm,
            keyid.slice(0, 16),
            ecu.last_report ?? "-",
          ])
        ),
      );
    });
}

function remove(): Command {
  return withJson(
    ofEcu(withOperator(makeCommand("remove", "removes an ECU's public keys"))),
    "{vin, ecu_id} as JSON",
  )
    .action(async (options: EcuOptions) => {
      const { vin, ecu: ecu_id } = options;
      await asOperator(
        options,
        (client) => client.call(routes.removeFromInventory, { body: { vin, ecu_id } }),
      );
      if (options.json) return printJson({ vin, ecu_id });
      print(`Keys of ${ecu_id} of ${vin} removed`);
    });
}

/** Who signs what the ECU reports. */
function describe({ primary, signed_by }: InventoryEcuAnswer): string {
  if (primary) return "gateway: for the vehicle, and itself";
  return signed_by === "gateway" ? "signed by the gateway" : "itself";
}

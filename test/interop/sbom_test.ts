// The bill of materials, judged by CycloneDX's own library: its schema, the SPDX expressions and the package URLs in it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { writeBillOfMaterials } from "../../bom/sbom.ts";
import { present, unlessMissing } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";
import { pythonPackages } from "../support/python_packages.ts";

const library = "cyclonedx-python-lib==11.12.0";

const folder = pythonPackages("cyclonedx-11.12.0", [
  library,
  ...["license-expression==30.4.4", "boolean.py==5.0", "packageurl-python==0.17.6", "py-serializable==2.1.0"],
  ...["sortedcontainers==2.4.0", "defusedxml==0.7.1", "typing-extensions==4.16.0", "attrs==26.1.0"],
  ...[
    "jsonschema==4.26.0",
    "jsonschema-specifications==2025.9.1",
    "referencing==0.37.0",
    "rpds-py==2026.9.1",
  ],
  // Formats: date-time, idn-email, iri-reference, without which the validator would let them pass.
  ...["rfc3339-validator==0.1.4", "rfc3987-syntax==1.1.0", "lark==1.3.1", "idna==3.20", "fqdn==1.6.0"],
  ...[
    "isoduration==20.11.0",
    "arrow==1.4.0",
    "python-dateutil==2.9.0.post0",
    "six==1.17.0",
    "tzdata==2026.6",
  ],
  ...["jsonpointer==3.12", "rfc3986-validator==0.1.1", "uri-template==1.3.0", "webcolors==25.10.0"],
]);

const judge = `
import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL

text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if error is not None:
    print(error)
    sys.exit(1)
document = json.loads(text)
licensing = get_spdx_licensing()
for component in document["components"]:
    if "purl" in component:
        purl = PackageURL.from_string(component["purl"])
        whole = "/".join(filter(None, [component.get("group"), component["name"]]))
        assert "/".join(filter(None, [purl.namespace, purl.name])) == whole, component["purl"]
        assert purl.version == component["version"], component["purl"]
        assert purl.to_string() == component["purl"], (purl.to_string(), component["purl"])
    for entry in component.get("licenses", []):
        expression = entry.get("expression") or entry["license"]["id"]
        problems = licensing.validate(expression).errors
        assert not problems, (component["name"], problems)
bom = Bom.from_json(document)
bom.validate()
print(len(bom.components))
`;

const missing = folder === undefined
  ? [{ command: library, install: `python3 -m pip install ${library}, which needs PyPI` }]
  : [];

async function judged(file: string): Promise<{ code: number; said: string }> {
  const { code, stdout, stderr } = await new Deno.Command("python3", {
    args: ["-c", judge, file],
    env: { PYTHONPATH: folder ?? "" },
    stdin: "null",
  }).output();
  return { code, said: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

unlessMissing(
  "the bill of materials is CycloneDX 1.6, with SPDX licences and package URLs",
  missing,
  async () => {
    await using temporary = await temporaryFolder();
    const file = join(temporary.path, "dist", "bom.json");
    await writeBillOfMaterials(file);
    const { code, said } = await judged(file);
    assert.equal(code, 0, said);
    const bom = JSON.parse(await Deno.readTextFile(file));
    assert.equal(Number(said), bom.components.length);

    const refs: string[] = bom.components.map((it: { "bom-ref": string }) => it["bom-ref"]);
    refs.push(bom.metadata.component["bom-ref"]);
    assert.equal(new Set(refs).size, refs.length);
    const reached = new Set<string>();
    for (const { ref, dependsOn } of bom.dependencies as { ref: string; dependsOn: string[] }[]) {
      assert.ok(refs.includes(ref), ref);
      for (const other of dependsOn) assert.ok(refs.includes(other), `${ref} depends on ${other}`);
      for (const other of dependsOn) reached.add(other);
    }
    interface Shipped {
      "bom-ref": string;
      scope: string;
      licenses?: unknown[];
      hashes?: unknown[];
      purl?: string;
    }
    for (const it of bom.components as Shipped[]) {
      if (it.scope !== "required") continue;
      assert.ok(reached.has(it["bom-ref"]), `${it["bom-ref"]}: nothing depends on it`);
      if (it["bom-ref"].startsWith("file:")) continue;
      assert.equal(it.licenses?.length, 1, it["bom-ref"]);
      if (!it["bom-ref"].startsWith("other:")) assert.equal(it.hashes?.length, 1, it["bom-ref"]);
    }

    // The judge sees what is wrong.
    for (
      const spoil of [
        (it: typeof bom) => it.components[0].hashes[0].content = "00",
        (it: typeof bom) => it.metadata.timestamp = "yesterday",
        (it: typeof bom) => it.components[0].licenses = [{ license: { id: "Nonsense" } }],
        (it: typeof bom) => it.components[0].purl = "pkg:npm/other@1.0.0",
      ]
    ) {
      const spoiled = structuredClone(bom);
      spoil(spoiled);
      const bad = join(temporary.path, "bad.json");
      await Deno.writeTextFile(bad, JSON.stringify(spoiled));
      assert.notEqual((await judged(bad)).code, 0, String(spoil));
    }
  },
);

const cargo = { command: "cargo", probe: ["--version"], install: "apt-get install cargo-web" };

unlessMissing(
  "cargo and the packages' own files say what the catalogue of licences says",
  present(cargo) ? [] : [cargo],
  async () => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "licenses", "--check"],
      stdin: "null",
      stdout: "null",
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  },
);

// The bill of materials as CycloneDX 1.6 has it (ECMA-424): https://cyclonedx.org/docs/1.6/json/.

import { type LockedPackage, nameOf } from "./components.ts";
import type { Catalogue, CatalogueEntry } from "./project.ts";

/** What {@link billOfMaterials} is made of. */
export interface Materials {
  name: string;
  version: string;
  /** Commit that it was made from, in hexadecimal; undefined where that is not known. */
  commit: string | undefined;
  catalogue: Catalogue;
  npm: ReadonlyMap<string, LockedPackage>;
  /** The npm packages that the program imports itself, by their names. */
  direct: readonly string[];
  crates: ReadonlyMap<string, LockedPackage>;
  /** Files that are built here, with their SHA-256 in hexadecimal. */
  files: readonly { name: string; sha256: string }[];
  /** When it is made. */
  time: Date;
}

/** One component, in CycloneDX's own words. */
interface Component {
  type: "application" | "library" | "platform" | "file";
  "bom-ref": string;
  name: string;
  group?: string;
  version?: string;
  scope?: "required" | "excluded";
  description?: string;
  purl?: string;
  hashes?: { alg: string; content: string }[];
  licenses?: ({ license: { id: string } } | { expression: string })[];
  externalReferences?: { type: string; url: string }[];
  properties?: { name: string; value: string }[];
}

/** Makes the document. */
export function billOfMaterials(materials: Materials): Record<string, unknown> {
  const { name, version, commit, catalogue, npm, crates, files, time, direct } = materials;
  const entries = new Map(catalogue.components.map((it) => [keyOf(it), it]));
  const locked = [...npm.values(), ...crates.values()];
  const packages = locked.map((it) => packageComponent(it, entries.get(nameOf(it))));
  const others = catalogue.components.filter(({ ecosystem }) => ecosystem === "other");
  const root = `${name}@${version}`;
  const project: Component = {
    type: "application",
    "bom-ref": root,
    ...nameAndGroup(name),
    version,
    licenses: licenseOf("Apache-2.0"),
    ...commit === undefined ? {} : { properties: [{ name: "zonebench:commit", value: commit }] },
  };
  const linkedInto = (part: string) =>
    catalogue.components.filter(({ ecosystem, parts }) => ecosystem !== "npm" && parts.includes(part)).map(
      keyOf,
    );
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${crypto.randomUUID()}`,
    version: 1,
    metadata: {
      timestamp: time.toISOString(),
      lifecycles: [{ phase: "build" }],
      tools: { components: [{ type: "application", ...nameAndGroup(name), version }] },
      component: project,
    },
    components: [...packages, ...others.map(otherComponent), ...files.map(fileComponent)],
    dependencies: [
      {
        ref: root,
        dependsOn: unique([
          ...direct,
          ...files.map(fileRef),
          ...linkedInto("runtime"),
          ...linkedInto("launcher"),
        ]),
      },
      ...files.map((file) => ({ ref: fileRef(file), dependsOn: linkedInto(file.name) })),
      ...locked.map((it) => ({
        ref: nameOf(it),
        dependsOn: unique([
          ...it.dependencies,
          ...it.name === "@electric-sql/pglite" ? linkedInto("pglite.wasm") : [],
        ]),
      })),
      ...others.map((it) => ({ ref: keyOf(it), dependsOn: [] })),
    ],
  };
}

function packageComponent(locked: LockedPackage, entry: CatalogueEntry | undefined): Component {
  const { name, version, purl, hash } = locked;
  return {
    type: "library",
    "bom-ref": nameOf(locked),
    ...nameAndGroup(name),
    version,
    // What tests, type checks and builds take is part of no executable.
    scope: entry === undefined ? "excluded" : "required",
    purl,
    ...hash === undefined ? {} : { hashes: [{ alg: hash.algorithm, content: hash.hex }] },
    ...entry === undefined ? {} : { licenses: licenseOf(entry.license), properties: partsOf(entry) },
  };
}

function otherComponent(entry: CatalogueEntry): Component {
  const { name, version, license, note, url } = entry;
  return {
    type: entry.parts.includes("runtime") ? "platform" : "library",
    "bom-ref": keyOf(entry),
    name,
    version,
    scope: "required",
    ...note === undefined ? {} : { description: note },
    purl: `pkg:generic/${name}@${encodeURIComponent(version)}`,
    licenses: licenseOf(license),
    ...url === undefined ? {} : { externalReferences: [{ type: "website", url }] },
    properties: partsOf(entry),
  };
}

function fileComponent(file: { name: string; sha256: string }): Component {
  return {
    type: "file",
    "bom-ref": fileRef(file),
    name: file.name,
    scope: "required",
    hashes: [{ alg: "SHA-256", content: file.sha256 }],
  };
}

function fileRef({ name }: { name: string }): string {
  return `file:${name}`;
}

function partsOf({ parts }: CatalogueEntry): { name: string; value: string }[] {
  return parts.map((value) => ({ name: "zonebench:part", value }));
}

/** One licence goes by its identifier, anything else is an expression. */
function licenseOf(license: string): Component["licenses"] {
  return license.includes(" ") ? [{ expression: license }] : [{ license: { id: license } }];
}

function nameAndGroup(name: string): { group?: string; name: string } {
  const [group, own] = name.split("/");
  return own === undefined ? { name } : { group, name: own };
}

function keyOf({ ecosystem, name, version }: CatalogueEntry): string {
  return `${ecosystem}:${name}@${version}`;
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

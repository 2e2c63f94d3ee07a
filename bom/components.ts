// What the product is made of, as the lock files have it: npm packages from deno.lock, crates from each Cargo.lock.

/** A package as a lock file has it. */
export interface LockedPackage {
  readonly ecosystem: "npm" | "cargo";
  readonly name: string;
  readonly version: string;
  /** https://github.com/package-url/purl-spec */
  readonly purl: string;
  /** Of the archive that the registry gives, in hexadecimal. */
  readonly hash: { readonly algorithm: "SHA-256" | "SHA-512"; readonly hex: string } | undefined;
  /** What it depends on, as {@link nameOf} names it. */
  readonly dependencies: readonly string[];
}

/** How a package is named here: `npm:zod@4.6.7`, `cargo:sha2@0.11.1`. */
export function nameOf(
  { ecosystem, name, version }: Pick<LockedPackage, "ecosystem" | "name" | "version">,
): string {
  return `${ecosystem}:${name}@${version}`;
}

interface DenoLock {
  specifiers: Record<string, string>;
  npm: Record<string, { integrity?: string; dependencies?: string[]; optionalDependencies?: string[] }>;
}

/** The npm packages of a deno.lock of version 5, by their keys there. @throws {TypeError} for what is no such file */
export function npmPackages(text: string): Map<string, LockedPackage> {
  const lock: DenoLock & { version?: string } = JSON.parse(text);
  if (lock.version !== "5") throw new TypeError(`deno.lock: expected version 5, got ${lock.version}`);
  const keys = Object.keys(lock.npm);
  const keyOf = (dependency: string): string => {
    const wanted = dependency.replace(/^npm:/, "");
    // The lock leaves the version away where there is one alone, and adds what peers it was resolved with.
    const found = keys.filter((key) => key === wanted || splitKey(key).name === wanted);
    if (found.length !== 1) {
      throw new TypeError(`deno.lock: expected one package ${wanted}, found ${found.length}`);
    }
    return found[0];
  };
  return new Map(keys.map((key) => {
    const { name, version } = splitKey(key);
    const { integrity, dependencies = [], optionalDependencies = [] } = lock.npm[key];
    return [key, {
      ecosystem: "npm",
      name,
      version,
      purl: `pkg:npm/${name.replace("@", "%40")}@${encodeURIComponent(version)}`,
      hash: integrity === undefined ? undefined : hashOf(integrity),
      dependencies: [...dependencies, ...optionalDependencies].map((it) => {
        return nameOf({ ecosystem: "npm", ...splitKey(keyOf(it)) });
      }),
    }];
  }));
}

/** `@hono/node-server@2.1.8_hono@4.13.19`: a name, a version, and the peers that it was resolved with. */
function splitKey(key: string): { name: string; version: string } {
  const at = key.indexOf("@", 1);
  return { name: key.slice(0, at), version: key.slice(at + 1).split("_")[0] };
}

function hashOf(integrity: string): LockedPackage["hash"] {
  const [algorithm, base64] = integrity.split(/-(.*)/);
  if (algorithm !== "sha512") throw new TypeError(`deno.lock: expected sha512, got ${algorithm}`);
  return { algorithm: "SHA-512", hex: Uint8Array.fromBase64(base64).toHex() };
}

/** A crate of the registry, and the project's own ones, which have no checksum. */
const cratePattern = /^\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"\n([^[]*(?:\[\n[^\]]*\]\n)?)/gm;

/** The crates of a Cargo.lock that come from the registry. */
export function cratesOf(text: string): LockedPackage[] {
  const found = [...text.matchAll(cratePattern)].map(([, name, version, rest]) => ({ name, version, rest }));
  return found.filter(({ rest }) => rest.includes("source = ")).map(({ name, version, rest }) => {
    const checksum = /^checksum = "([0-9a-f]{64})"$/m.exec(rest)?.[1];
    if (checksum === undefined) throw new TypeError(`Cargo.lock: ${name} ${version} has no checksum`);
    const listed = /^dependencies = \[\n([^\]]*)\]/m.exec(rest)?.[1] ?? "";
    const dependencies = [...listed.matchAll(/"([^" ]+)(?: ([^" ]+))?[^"]*"/g)].map(([, other, at]) => {
      const all = found.filter((it) => it.name === other && (at === undefined || it.version === at));
      if (all.length !== 1) {
        throw new TypeError(`Cargo.lock: expected one crate ${other}, found ${all.length}`);
      }
      return nameOf({ ecosystem: "cargo", name: other, version: all[0].version });
    });
    return {
      ecosystem: "cargo",
      name,
      version,
      purl: `pkg:cargo/${name}@${encodeURIComponent(version)}`,
      hash: { algorithm: "SHA-256", hex: checksum },
      dependencies,
    };
  });
}

/** All that is reached from some packages, those among them. */
export function closure(
  from: readonly string[],
  packages: ReadonlyMap<string, LockedPackage>,
): Set<string> {
  const reached = new Set<string>();
  const waiting = [...from];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue;
    const found = packages.get(name);
    if (found === undefined) throw new TypeError(`expected ${name} in the lock file`);
    reached.add(name);
    waiting.push(...found.dependencies);
  }
  return reached;
}

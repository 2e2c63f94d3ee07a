// The machines for which an executable can be built.

/** The Deno that the program is built and run with. */
export const denoVersion = "2.9.6";

/** What is known of a target. */
export interface Target {
  /** As Rust and Deno name it. */
  readonly triple: string;
  /** SHA-256 of Deno's executable for it, as denoland published it: the same in every registry. */
  readonly denoSha256: string;
  /** The npm package that carries it. */
  readonly npmPackage: string;
  /** The platform tag of PyPI's package `deno`. */
  readonly pypiPlatform: string;
}

export const targets: Readonly<Record<string, Target>> = {
  "x86_64-unknown-linux-gnu": {
    triple: "x86_64-unknown-linux-gnu",
    denoSha256: "bceb5b6a6239b0b010418406d8c77a508f67cf4337d94288f1c19fe71304aab0",
    npmPackage: "@deno/linux-x64-glibc",
    pypiPlatform: "manylinux_2_27_x86_64",
  },
  "aarch64-unknown-linux-gnu": {
    triple: "aarch64-unknown-linux-gnu",
    denoSha256: "d08d392418df53f4e6e88a08909c0e1bccbf9adcead7232df72b6ad6075ec416",
    npmPackage: "@deno/linux-arm64-glibc",
    pypiPlatform: "manylinux_2_27_aarch64",
  },
};

/** Finds a target by its name. @throws {RangeError} for one that is none */
export function targetNamed(triple: string): Target {
  const target = targets[triple];
  if (target === undefined) {
    throw new RangeError(`--target: expected ${Object.keys(targets).join(" or ")}, got "${triple}"`);
  }
  return target;
}

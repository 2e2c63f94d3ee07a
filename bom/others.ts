// What is shipped and comes from no package registry: the runtime, libraries that a toolchain links, what packages carry
// inside. Their texts stand in texts/.

import type { CatalogueEntry, Part } from "./project.ts";

/** The text files are named without their ending. */
export const others: readonly (CatalogueEntry & { parts: readonly Part[] })[] = [
  {
    ecosystem: "other",
    name: "deno",
    version: "2.9.6",
    license: "MIT",
    parts: ["runtime"],
    texts: ["deno"],
    url: "https://github.com/denoland/deno",
    note:
      "The runtime is shipped as its project releases it; the crates inside are those of its own Cargo.lock.",
  },
  {
    ecosystem: "other",
    name: "v8",
    version: "15.0.245.2",
    license: "BSD-3-Clause",
    parts: ["runtime"],
    texts: ["v8"],
    url: "https://v8.dev",
    note: "Part of the Deno runtime.",
  },
  {
    ecosystem: "other",
    name: "postgresql",
    version: "18",
    license: "PostgreSQL",
    parts: ["pglite.wasm"],
    texts: ["postgresql"],
    url: "https://www.postgresql.org",
    note: "Compiled to WebAssembly by the npm package @electric-sql/pglite.",
  },
  {
    ecosystem: "other",
    name: "zstd",
    version: "1.5.7",
    license: "BSD-3-Clause OR GPL-2.0-only",
    parts: ["zstd.wasm"],
    texts: ["../../wasm/zstd/LICENSE"],
    url: "https://github.com/facebook/zstd",
    note: "The C sources, as the crate zstd-sys carries them; used under BSD-3-Clause.",
  },
  {
    ecosystem: "other",
    name: "wasi-libc",
    version: "0.0~git20220510",
    license: "Apache-2.0 WITH LLVM-exception AND MIT AND BSD-2-Clause",
    parts: ["zstd.wasm"],
    texts: ["wasi-libc"],
    url: "https://github.com/WebAssembly/wasi-libc",
    note: "Its functions for memory alone are linked.",
  },
  {
    ecosystem: "other",
    name: "rust-std",
    version: "1.96.0",
    license: "MIT OR Apache-2.0",
    parts: ["tls.wasm", "launcher"],
    texts: ["rust", "apache-2.0"],
    url: "https://www.rust-lang.org",
    note: "The standard library of Debian's rustc-web.",
  },
  {
    ecosystem: "other",
    name: "glibc",
    version: "2.36",
    license: "LGPL-2.1-or-later",
    parts: ["launcher"],
    texts: ["glibc", "lgpl-2.1"],
    url: "https://www.gnu.org/software/libc/",
    note:
      "Linked statically into the launcher of a self-extracting executable; launcher/build links it anew from its sources.",
  },
];

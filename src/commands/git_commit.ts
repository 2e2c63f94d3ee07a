// Which commit a working tree of git stands on, read from git's own files: no git has to be there, and none is run.
// gitrepository-layout(5) is what the files mean.

import { join, resolve } from "node:path";

/** SHA-1 and SHA-256, as git writes them. */
const objectName = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** How many references may point to another one; git follows as many. */
const maxDepth = 5;

/**
 * The commit of a working tree.
 * @param folder the tree's own folder, with `.git` in it
 * @returns its name in hexadecimal; undefined where that cannot be told: no git, no commit yet, another kind of storage
 */
export async function commitOf(folder: string): Promise<string | undefined> {
  const git = await gitFolder(join(folder, ".git"));
  if (git === undefined) return undefined;
  // A further working tree has HEAD for itself and shares the branches with the first one.
  const shared = await textOf(join(git, "commondir"));
  const folders = shared === undefined ? [git] : [git, resolve(git, shared)];
  let name = "HEAD";
  for (let depth = 0; depth <= maxDepth; depth++) {
    const value = await valueOf(folders, name);
    if (value === undefined || objectName.test(value)) return value;
    const reference = /^ref: +(\S+)$/.exec(value)?.[1];
    // It becomes part of a path.
    if (reference === undefined || !/^refs\//.test(reference) || reference.split("/").includes("..")) {
      return undefined;
    }
    name = reference;
  }
  return undefined;
}

/** The folder with git's files: `.git` itself, or what a file of that name points to. */
async function gitFolder(path: string): Promise<string | undefined> {
  const text = await textOf(path);
  if (text === undefined) {
    return (await Deno.stat(path).catch(() => undefined))?.isDirectory ? path : undefined;
  }
  const target = /^gitdir: +(.+)$/.exec(text)?.[1];
  return target === undefined ? undefined : resolve(path, "..", target);
}

/** What a reference says: its own file, or its line among the packed ones. */
async function valueOf(folders: readonly string[], name: string): Promise<string | undefined> {
  for (const folder of folders) {
    const own = await textOf(join(folder, name));
    if (own !== undefined) return own;
  }
  for (const folder of folders) {
    for (const line of (await textOf(join(folder, "packed-refs")))?.split("\n") ?? []) {
      const [commit, reference] = line.split(" ");
      if (reference === name) return commit;
    }
  }
  return undefined;
}

/** A file's text without the space around it; undefined where there is no such file, or one that is not to be read. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return (await Deno.readTextFile(path)).trim();
  } catch {
    // What is not there, is a folder or may not be read says nothing: the commit is unknown then, and that is said.
    return undefined;
  }
}

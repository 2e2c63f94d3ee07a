import assert from "node:assert/strict";
import { join } from "node:path";
import { commitOf } from "../../src/commands/git_commit.ts";
import { interopTest, peers } from "../support/peers.ts";
import { temporaryFolder } from "../support/program.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";

/** A working tree whose git folder has these files. */
async function treeWith(files: Record<string, string>, run: (tree: string) => Promise<void>): Promise<void> {
  await using folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder.path, name);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.writeTextFile(path, text);
  }
  await run(folder.path);
}

const trees: [what: string, files: Record<string, string>, expected: string | undefined][] = [
  ["a branch", { ".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": `${commit}\n` }, commit],
  ["a commit without a branch", { ".git/HEAD": `${commit}\n` }, commit],
  ["SHA-256 names", { ".git/HEAD": `${"ab".repeat(32)}\n` }, "ab".repeat(32)],
  ["packed references", {
    ".git/HEAD": "ref: refs/heads/a/b\n",
    ".git/packed-refs":
      `# pack-refs with: peeled fully-peeled sorted \n${
        "1".repeat(40)
      } refs/heads/a\n${commit} refs/heads/a/b\n` +
      `${"2".repeat(40)} refs/tags/v1\n^${"3".repeat(40)}\n`,
  }, commit],
  ["a loose reference before a packed one", {
    ".git/HEAD": "ref: refs/heads/main\n",
    ".git/refs/heads/main": `${commit}\n`,
    ".git/packed-refs": `${"1".repeat(40)} refs/heads/main\n`,
  }, commit],
  ["no git", { "README.md": "" }, undefined],
  ["a branch without a commit", { ".git/HEAD": "ref: refs/heads/main\n" }, undefined],
  [
    "another kind of storage",
    { ".git/HEAD": "ref: refs/heads/.invalid\n", ".git/reftable/tables.list": "" },
    undefined,
  ],
  [
    "a reference out of the folder",
    { ".git/HEAD": "ref: refs/../../secret\n", "secret": `${commit}\n` },
    undefined,
  ],
  ["references in a circle", {
    ".git/HEAD": "ref: refs/heads/a\n",
    ".git/refs/heads/a": "ref: refs/heads/a\n",
  }, undefined],
  ["something else", { ".git/HEAD": "nonsense\n" }, undefined],
];
for (const [what, files, expected] of trees) {
  Deno.test(`commitOf() of a tree with ${what} is ${expected === undefined ? "unknown" : "that commit"}`, async () => {
    await treeWith(files, async (tree) => assert.equal(await commitOf(tree), expected));
  });
}

interopTest(
  "commitOf() says what git says, of a clone with packed references and of a further working tree",
  [
    peers.git,
  ],
  async () => {
    await using folder = await temporaryFolder();
    const tree = join(folder.path, "tree");
    const git = async (cwd: string, ...args: string[]) => {
      const who = [
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.org",
        "-c",
        "init.defaultBranch=trunk",
      ];
      const { code, stdout, stderr } = await new Deno.Command("git", { args: [...who, ...args], cwd })
        .output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout).trim();
    };
    await git(folder.path, "init", "-q", tree);
    assert.equal(await commitOf(tree), undefined);
    await git(tree, "commit", "-q", "--allow-empty", "-m", "one");
    assert.equal(await commitOf(tree), await git(tree, "rev-parse", "HEAD"));
    await git(tree, "pack-refs", "--all");
    assert.equal(await commitOf(tree), await git(tree, "rev-parse", "HEAD"));

    const further = join(folder.path, "further");
    await git(tree, "worktree", "add", "-q", "-b", "side", further);
    await git(further, "commit", "-q", "--allow-empty", "-m", "two");
    const side = await git(further, "rev-parse", "HEAD");
    assert.notEqual(side, await git(tree, "rev-parse", "HEAD"));
    assert.equal(await commitOf(further), side);
    await git(tree, "pack-refs", "--all");
    assert.equal(await commitOf(further), side);
    await git(further, "checkout", "-q", "--detach", "HEAD~1");
    assert.equal(await commitOf(further), await git(tree, "rev-parse", "HEAD"));
  },
);

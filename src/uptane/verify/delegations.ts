// Which role may sign an image, found through the Image repository's delegations (Uptane Standard 2.1, section 5.4.4.7).

import type { Checker } from "../checks.ts";
import type { Delegation, Delegations, Target, Targets } from "../models.ts";
import type { Authority } from "../threshold.ts";
import type { CheckedTargets, TrustedRepository } from "./repository.ts";

/** An image that is looked for. */
export interface WantedImage {
  readonly name: string;
  /** Hardware that it is to run on. */
  readonly hardwareIds: readonly string[];
}

/** Who signed an image, and what. */
export interface FoundImage {
  /** `targets` or the name of a delegated role. */
  readonly role: string;
  readonly target: Target;
}

/** How a search ended. */
export type SearchEnd =
  | { readonly end: "found"; readonly found: FoundImage }
  /** Nobody who was asked signs it; `role`: the last one who was. */
  | { readonly end: "exhausted" | "terminated" | "bounded"; readonly role: string };

/** What a role says: its images, and to whom it delegates. */
export type RoleContent = Pick<Targets, "targets" | "delegations">;

/**
 * The search itself, from the top-level targets down, in the order of the delegations: whoever publishes looks in the same way.
 *
 * @param visits Most delegated roles that are looked into.
 * @param load Gives what a role says that was delegated to, signed by those keys; what it throws ends the search (step 1).
 */
export async function searchImage(
  top: RoleContent,
  wanted: WantedImage,
  visits: number,
  load: (role: string, by: Authority) => Promise<RoleContent>,
): Promise<SearchEnd> {
  let role = "targets";
  let current = top;
  // A role that was looked into is not looked into again: that ends circles.
  const visited = new Set([role]);
  /** Delegations still to be followed, the next one last. */
  const waiting = applying(top.delegations, wanted).reverse();
  for (let terminating = false;;) {
    if (Object.hasOwn(current.targets, wanted.name)) {
      return { end: "found", found: { role, target: current.targets[wanted.name] } };
    }
    // Step 3: whoever delegated so wants nobody else asked.
    if (terminating) return { end: "terminated", role };
    const next = waiting.pop();
    if (next === undefined) return { end: "exhausted", role };
    const { delegation: { name, keyids, threshold }, keys } = next;
    terminating = next.delegation.terminating;
    if (visited.has(name)) continue;
    if (visited.size > visits) return { end: "bounded", role };
    visited.add(name);
    role = name;
    current = await load(name, { keys, role: { keyids, threshold } });
    if (!terminating) waiting.push(...applying(current.delegations, wanted).reverse());
  }
}

/**
 * Looks for the metadata of an image among those who may sign it. What is wrong with the metadata of a role on the way ends the
 * search with the error of that.
 *
 * @param visits Most delegated roles that are looked into.
 * @throws {DelegationError} when no role that may sign it does.
 * @throws {EndlessDataError} when it is not found within `visits`.
 */
export async function findImage(
  repository: TrustedRepository,
  top: CheckedTargets,
  wanted: WantedImage,
  visits: number,
  checker: Checker,
): Promise<FoundImage> {
  const subject = `${repository.name} ${wanted.name}`;
  const search = await searchImage(top.metadata.signed, wanted, visits, async (role, by) => {
    checker.passed("delegation_bounded", subject);
    return (await repository.loadTargets(role, by, true)).metadata.signed;
  });
  switch (search.end) {
    case "found":
      checker.passed("delegation_resolved", subject);
      return search.found;
    case "bounded":
      throw checker.failed(
        "delegation_bounded",
        subject,
        `expected to find it in at most ${visits} delegated roles`,
      );
    case "terminated":
      throw checker.failed(
        "delegation_resolved",
        subject,
        `expected it in ${search.role}, the end of the search, got none`,
      );
    case "exhausted":
      throw checker.failed(
        "delegation_resolved",
        subject,
        "expected metadata of a role that may sign it, got none",
      );
  }
}

/** A delegation with the keys that its delegating role names. */
interface Followed {
  readonly delegation: Delegation;
  readonly keys: Delegations["keys"];
}

/** Step 4.1: delegations for this image, the first one first. */
export function applying(
  delegations: Delegations | undefined,
  { name, hardwareIds }: WantedImage,
): Followed[] {
  if (delegations === undefined) return [];
  return delegations.roles.filter((role) =>
    role.paths.some((pattern) => matches(pattern, name)) &&
    (role.hardware_ids === undefined || hardwareIds.every((id) => role.hardware_ids?.includes(id)))
  ).map((delegation) => ({ delegation, keys: delegations.keys }));
}

/**
 * Whether a name matches a pattern: `*` stands for any characters but slashes, `?` for one of them (TUF specification 1.0,
 * section 4.5). Takes time in proportion to the product of both lengths at most.
 */
export function matches(pattern: string, name: string): boolean {
  const parts = pattern.split("/");
  const names = name.split("/");
  return parts.length === names.length && parts.every((part, at) => matchesPart(part, names[at]));
}

function matchesPart(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  let i = 0;
  while (i < text.length) {
    if (pattern[at] === "*") {
      star = at++;
      resume = i;
    } else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === text[i])) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++resume;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

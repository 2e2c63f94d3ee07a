// Which role may sign an image, found through the Image repository's delegations (Uptane Standard 2.1, section 5.4.4.7).

import type { Checker } from "../checks.ts";
import type { Delegation, Delegations, Target } from "../models.ts";
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

/**
 * Looks for the metadata of an image, from the top-level targets down, in the order of the delegations. What is wrong with the
 * metadata of a role on the way ends the search with the error of that (step 1).
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
  const notFound = (reason: string) => checker.failed("delegation_resolved", subject, reason);
  // A role that was looked into is not looked into again: that ends circles.
  const visited = new Set([top.role]);
  /** Delegations still to be followed, the next one last. */
  const waiting = applying(top.metadata.signed.delegations, wanted);
  let current = top;
  for (let terminating = false;;) {
    const { targets } = current.metadata.signed;
    if (Object.hasOwn(targets, wanted.name)) {
      checker.passed("delegation_resolved", subject);
      return { role: current.role, target: targets[wanted.name] };
    }
    // Step 3: whoever delegated so wants nobody else asked.
    if (terminating) throw notFound(`expected it in ${current.role}, the end of the search, got none`);
    const next = waiting.pop();
    if (next === undefined) throw notFound("expected metadata of a role that may sign it, got none");
    const { delegation: { name, keyids, threshold }, keys } = next;
    terminating = next.delegation.terminating;
    if (visited.has(name)) continue;
    checker.require(
      "delegation_bounded",
      subject,
      visited.size <= visits,
      () => `expected to find it in at most ${visits} delegated roles`,
    );
    visited.add(name);
    current = await repository.loadTargets(name, { keys, role: { keyids, threshold } }, true);
    if (!terminating) waiting.push(...applying(current.metadata.signed.delegations, wanted));
  }
}

/** A delegation with the keys that its delegating role names. */
interface Followed {
  readonly delegation: Delegation;
  readonly keys: Delegations["keys"];
}

/** Step 4.1: delegations for this image, the last one first. */
function applying(delegations: Delegations | undefined, { name, hardwareIds }: WantedImage): Followed[] {
  if (delegations === undefined) return [];
  return delegations.roles.filter((role) =>
    role.paths.some((pattern) => matches(pattern, name)) &&
    (role.hardware_ids === undefined || hardwareIds.every((id) => role.hardware_ids?.includes(id)))
  ).map((delegation) => ({ delegation, keys: delegations.keys })).reverse();
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

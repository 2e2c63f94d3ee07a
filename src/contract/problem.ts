// Errors of the REST interface as problem details (RFC 9457).

import { z } from "zod";

export const problem = z.object({
  /** `about:blank` where the status says it all, else `urn:zonebench:problem:{code}`. */
  type: z.string(),
  title: z.string(),
  status: z.int().min(400).max(599),
  /** What was expected, what came and where. */
  detail: z.string(),
  /** Path that was asked for. */
  instance: z.string().optional(),
  /** Short name for programs, e.g. `vin_mismatch`. */
  code: z.string().optional(),
  /** For a body or query that does not fit: each place and what is wrong there. */
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});

export type Problem = z.infer<typeof problem>;

/** Media type of a problem (RFC 9457 clause 6.1). */
export const problemMediaType = "application/problem+json";

/** Puts what zod found into lines `path: message`. */
export function describeIssues(error: z.ZodError): { path: string; message: string }[] {
  return error.issues.map((issue) => {
    const path = issue.path.reduce<string>(
      (text, part) =>
        typeof part === "number" ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part),
      "",
    );
    if (issue.code === "unrecognized_keys") {
      return {
        path: path || "(top)",
        message: `unknown field ${issue.keys.map((key) => `"${key}"`).join(", ")}`,
      };
    }
    return { path: path || "(top)", message: issue.message };
  });
}

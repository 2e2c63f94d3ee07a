// Loaded before each test file: gives every test a limit, so that one that hangs, or never leaves a loop, fails by its name and the
// others go on. A test that needs longer says so with a `timeout` of its own.

/** Longest a test may take, s; a machine that is much slower than others can have more. */
const limit = Number(Deno.env.get("ZONEBENCH_TEST_LIMIT") ?? 300);
if (!(limit > 0)) {
  throw new RangeError(
    `ZONEBENCH_TEST_LIMIT is seconds, above 0, not "${Deno.env.get("ZONEBENCH_TEST_LIMIT")}"`,
  );
}

/** Where Deno's runner looks for the place that a failure is shown with; by default it is where Deno.test is called, which is here. */
const place = Symbol.for("Deno.test.location");

const register = Deno.test;

type Run = (context: Deno.TestContext) => void | Promise<void>;

/** As Deno.test, in each of its forms. */
function limited(...given: unknown[]): void {
  const definition: Partial<Deno.TestDefinition> = {};
  for (const part of given) {
    if (typeof part === "string") definition.name = part;
    else if (typeof part === "function") definition.fn = part as Run;
    else Object.assign(definition, part);
  }
  const { fn, name = fn?.name ?? "" } = definition;
  if (fn === undefined) throw new TypeError(`the test "${name}" has no function`);
  const run: Run = (context) => fn(context);
  register({ timeout: limit * 1000, ...definition, name, fn: Object.assign(run, { [place]: caller() }) });
}

/** The first place on the way here that is not in this folder: tests are also registered by functions of it. */
function caller(): string | undefined {
  const folder = new URL("./", import.meta.url).href;
  for (const line of new Error().stack?.split("\n") ?? []) {
    const place = /(file:[^()]+:\d+:\d+)\)?$/.exec(line)?.[1];
    if (place === undefined || place.startsWith(folder) && !place.includes("_test.ts:")) continue;
    return place;
  }
  // Deno then shows this file.
  return undefined;
}

Object.assign(Deno, { test: Object.assign(limited, register) });

// The part of aedes-persistence's conformance suite that is used here; the package brings no types for it.

export interface SuiteContext {
  plan(count: number): void;
  diagnostic(message: string): void;
  assert: Record<"ok" | "equal" | "notEqual" | "deepEqual", (...values: unknown[]) => void>;
}

export default function abstractPersistence(options: {
  test(name: string, run: (context: SuiteContext) => Promise<void>): void;
  persistence(): unknown;
  buildEmitter(): { emit: unknown; on: unknown; removeListener: unknown };
  testAsync: boolean;
}): void;

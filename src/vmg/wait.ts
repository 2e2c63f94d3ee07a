// The gateway's waits are those of all parts.

export * from "../wait.ts";

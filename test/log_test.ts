import assert from "node:assert/strict";
import { createLogger, describeError } from "../src/log.ts";

function record(options: Parameters<typeof createLogger>[0] = {}) {
  const lines: string[] = [];
  const logger = createLogger({
    color: false,
    now: () => new Date(2025, 9, 31, 10, 5, 23),
    write: (line) => lines.push(line),
    ...options,
  });
  return { logger, lines };
}

Deno.test("a text line has time, level and message", () => {
  const { logger, lines } = record();
  logger.child("MQTT").info("New connection from 192.0.2.1");
  logger.warn("slow", { ms: 12, step: "erase" });
  assert.deepEqual(lines, [
    "[2025-10-31 10:05:23] INFO - [MQTT] New connection from 192.0.2.1",
    "[2025-10-31 10:05:23] WARNING - slow (ms=12, step=erase)",
  ]);
});

Deno.test("a level below the threshold is not written", () => {
  const { logger, lines } = record({ level: "warn" });
  logger.debug("a");
  logger.info("b");
  logger.warn("c");
  logger.error("d");
  assert.deepEqual(lines.map((line) => line.slice(-1)), ["c", "d"]);
});

Deno.test("a JSON line is one object with the fields beside the message", () => {
  const { logger, lines } = record({ format: "json" });
  logger.child("OTA").error("failed", { ecu_id: "ECU_001", error: new Error("NRC 0x72") });
  const line = JSON.parse(lines[0]);
  assert.equal(line.level, "error");
  assert.equal(line.message, "[OTA] failed");
  assert.equal(line.ecu_id, "ECU_001");
  assert.equal(line.error, "NRC 0x72");
  assert.equal(line.time, new Date(2025, 9, 31, 10, 5, 23).toISOString());
});

Deno.test("text from outside cannot forge a line or steer a terminal", () => {
  const { logger, lines } = record();
  logger.info("topic a\n[2025-10-31 10:05:24] INFO - forged \x1b[31m");
  assert.equal(lines.length, 1);
  assert.ok(!lines[0].includes("\n") && !lines[0].includes("\x1b"));
});

Deno.test("describeError() tells the causes once each", () => {
  const error = new Error("download failed", {
    cause: new Error("connection refused", { cause: "connection refused" }),
  });
  assert.equal(describeError(error), "download failed: connection refused");
});

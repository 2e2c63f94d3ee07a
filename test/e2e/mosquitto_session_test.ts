// mosquitto_sub with a vehicle's certificate, on its own TLS (OpenSSL): what was queued for its session is there after the
// server was killed.

import assert from "node:assert/strict";
import { join } from "node:path";
import { interopTest, peers } from "../support/peers.ts";
import { Program, temporaryFolder } from "../support/program.ts";

const vin = "KMHZB00BENCH00001";

interopTest(
  "mosquitto_sub gets what was queued in its session after the server was killed, and curl sees it wait",
  [
    peers.mosquittoClients,
    peers.curl,
  ],
  async () => {
    await using folder = await temporaryFolder();
    const data = join(folder.path, "data");
    const pki = join(data, "pki");
    const program = new Program({
      data,
      network: "127.0.40.32/28",
      settings: ["server.tls.profiles=[2, 0]"],
    });
    const certificate = (
      name: string,
    ) => ["--cert", join(pki, `${name}.crt`), "--key", join(pki, `${name}.key`)];
    const trust = ["--cacert", join(pki, "ca.crt")];
    const curl = async (name: string, ...args: string[]): Promise<Record<string, unknown>> => {
      const [path, ...rest] = args;
      const { code, stdout, stderr } = await new Deno.Command("curl", {
        args: [
          ...["-sS", "--fail-with-body", "--max-time", "20"],
          ...[
            ...trust,
            ...certificate(name),
            ...rest,
            `https://127.0.0.1:${program.httpsPort}/api/v1/${path}`,
          ],
        ],
        stdin: "null",
      }).output();
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      assert.equal(code, 0, text);
      return JSON.parse(text);
    };
    const json = (body: unknown) => ["-H", "content-type: application/json", "-d", JSON.stringify(body)];
    /** @param args what is wanted of the session */
    const subscribe = async (...args: string[]): Promise<{ code: number; text: string }> => {
      const { code, stdout, stderr } = await new Deno.Command("timeout", {
        args: [
          ...[
            "30",
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            String(program.mqttPort),
            "--cafile",
            join(pki, "ca.crt"),
          ],
          ...[...certificate(`vehicle-${vin}`), "-i", `vehicle-${vin}`, "-c", "-q", "1"],
          ...["-t", `vehicle/${vin}/diagnostics`, ...args],
        ],
        stdin: "null",
      }).output();
      return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
    };
    const ask = async (ecu_id: string) =>
      (await curl(
        "operator-bench",
        "diagnostics/send",
        ...json({ vin, ecu_id, service_id: "0x22", data: "F190" }),
      )).request_id;

    await using first = await program.serve(["--only", "server"]);
    const vehicle = { vin, vehicle_model: "Bench", vehicle_year: 2026, vmg_id: "VMG-001" };
    await curl(`vehicle-${vin}`, "vehicles/register", ...json(vehicle));
    // -E: mosquitto_sub leaves as soon as it has subscribed; the session stays.
    assert.deepEqual(await subscribe("-E"), { code: 0, text: "" });
    const asked = [await ask("ECU_001"), await ask("ECU_002")];
    first.kill("SIGKILL");
    await first.ended;

    await using _second = await program.serve(["--only", "server"]);
    asked.push(await ask("ECU_003"));
    const { messages } = await curl(`vehicle-${vin}`, `vehicles/${vin}/pending-messages`);
    assert.equal((messages as unknown[]).length, 3);
    const heard = await subscribe("-C", "3");
    assert.equal(heard.code, 0, heard.text);
    const ids = heard.text.trim().split("\n").map((line) => JSON.parse(line).request_id);
    assert.deepEqual(ids, asked, "each once, in order");
    const after = await curl(`vehicle-${vin}`, `vehicles/${vin}/pending-messages`);
    assert.deepEqual(after, { messages: [] });
  },
);

// curl, on its own TLS (OpenSSL) and HTTP, against the REST interface.

import assert from "node:assert/strict";
import { join } from "node:path";
import { routes } from "../../src/contract/routes.ts";
import { chunks, ecu, report, startTestServer, type TestServer, vinA } from "../server/running_server.ts";
import { interopTest, peers } from "../support/peers.ts";

async function curl(server: TestServer, certificate: string | undefined, path: string, ...args: string[]) {
  const identity = certificate === undefined ? [] : [
    "--cert",
    join(server.pki, `${certificate}.crt`),
    "--key",
    join(server.pki, `${certificate}.key`),
  ];
  const output = await new Deno.Command("curl", {
    args: [
      "-sS",
      "--max-time",
      "30",
      "--cacert",
      join(server.pki, "ca.crt"),
      ...identity,
      ...args,
      `${server.origin}${path}`,
    ],
    stdin: "null",
  }).output();
  return { code: output.code, bytes: output.stdout, text: new TextDecoder().decode(output.stdout) };
}

interopTest(
  "curl registers, uploads, downloads in ranges, and is refused where it should be",
  [peers.curl],
  async (t) => {
    await using server = await startTestServer("127.0.34.22", { profiles: [2, 0] });
    const vehicle = `vehicle-${vinA}`;
    const json = ["-H", "Content-Type: application/json", "-d"];

    await t.step("a vehicle's certificate registers its vehicle", async () => {
      const body = { vin: vinA, vehicle_model: "Test", vehicle_year: 2026, vmg_id: "VMG-001" };
      const { text } = await curl(
        server,
        vehicle,
        "/api/v1/vehicles/register",
        ...json,
        JSON.stringify(body),
      );
      assert.equal(JSON.parse(text).status, "registered");
    });

    await t.step("no certificate, and a vehicle on an operator's route, are refused", async () => {
      assert.notEqual((await curl(server, undefined, "/healthz")).code, 0);
      const { text } = await curl(server, vehicle, "/api/v1/vehicles", "-w", "%{http_code}");
      assert.match(text, /"code":"wrong_caller"\}403$/);
    });

    // 3 MB that zstd cannot make smaller, so the package has several reads' worth of bytes.
    const firmware = new Uint8Array(3_000_000);
    for (let at = 0; at < firmware.length; at += 65_536) {
      crypto.getRandomValues(
        firmware.subarray(at, at + 65_536),
      );
    }
    const file = join(server.directory, "firmware.bin");
    await Deno.writeFile(file, firmware);

    await t.step("a file is uploaded", async () => {
      const query = "ecu_type=BODY_CONTROLLER&hw_version=HW1&version=2.0.0&format=binary";
      const { text } = await curl(
        server,
        "operator-bench",
        `/api/v1/firmware?${query}`,
        "-H",
        "Content-Type: application/octet-stream",
        "-T",
        file,
        "-X",
        "POST",
      );
      assert.equal(JSON.parse(text).payload_size, 3_000_000);
    });

    await t.step("a package is downloaded whole, in parts and not again", async () => {
      const { rest } = server.vehicleA;
      const body = report(vinA, "VMG-001", [ecu("ECU_001", "1.0.0")]);
      await rest.call(routes.submitVci, { path: { vin: vinA }, body });
      const made = await rest.call(routes.requestPackage, { body: { vehicle_id: vinA } });
      const whole = (await curl(server, vehicle, made.download_url)).bytes;
      assert.equal(whole.length, made.size);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", Uint8Array.from(whole))).toHex();
      assert.equal(digest, made.sha256);

      const head = (await curl(server, vehicle, made.download_url, "-I")).text;
      assert.match(head, /^HTTP\/1\.1 200 /);
      assert.match(head, new RegExp(`content-length: ${made.size}\\r`, "i"));
      assert.match(head, /accept-ranges: bytes\r/i);
      const etag = /etag: (".*")\r/i.exec(head)?.[1] ?? assert.fail(head);
      assert.match(etag, /^"[0-9a-f]{64}"$/);

      const part = await curl(server, vehicle, made.download_url, "-r", "1000000-2000000");
      assert.deepEqual(part.bytes, whole.subarray(1_000_000, 2_000_001));
      const tail = await curl(server, vehicle, made.download_url, "-r", "-10", "-H", `If-Range: ${etag}`);
      assert.deepEqual(tail.bytes, whole.subarray(-10));
      const changed = await curl(server, vehicle, made.download_url, "-r", "0-1", "-H", 'If-Range: "other"');
      assert.equal(changed.bytes.length, made.size);
      const status = async (...args: string[]) =>
        (await curl(server, vehicle, made.download_url, "-o", "/dev/null", "-w", "%{http_code}", ...args))
          .text;
      assert.equal(await status("-r", "0-1"), "206");
      assert.equal(await status("-r", `${made.size}-`), "416");
      assert.equal(await status("-H", `If-None-Match: ${etag}`), "304");
      assert.equal(await status("-H", 'If-Match: "other"'), "412");

      // curl resumes a file that was cut.
      const cut = join(server.directory, "cut.pkg");
      await Deno.writeFile(cut, whole.subarray(0, 1_234_567));
      await curl(server, vehicle, made.download_url, "-C", "-", "-o", cut);
      assert.deepEqual(await Deno.readFile(cut), whole);
    });

    await t.step("another vehicle gets none of it", async () => {
      const { update_id } = await server.vehicleA.rest.call(routes.requestPackage, {
        body: { vehicle_id: vinA },
      });
      const { package_id } = await server.operator.rest.call(routes.getUpdate, { path: { id: update_id } });
      const path = `/api/v1/ota/package/${package_id}`;
      const { text } = await curl(
        server,
        "vehicle-KMHTEST1BBB000002",
        path,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
      );
      assert.equal(text, "404");
      await server.operator.rest.upload(routes.addFirmware, {
        query: { ecu_type: "X", hw_version: "H", version: "1.0.0", format: "binary" },
        stream: chunks("x"),
      });
    });
  },
);

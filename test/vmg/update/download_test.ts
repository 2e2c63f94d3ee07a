// Fetching a package from a plain HTTP server that cuts, changes and refuses.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import { Agent } from "undici";
import { buildPackage } from "../../../src/codec/build_package.ts";
import { compressImage } from "../../../src/codec/compress_image.ts";
import { PackageError } from "../../../src/codec/errors.ts";
import type { BlobEntry } from "../../../src/codec/manifest.ts";
import { CodecPool } from "../../../src/codec/pool.ts";
import { ProblemError, RestClient } from "../../../src/contract/client.ts";
import { silentLogger } from "../../../src/log.ts";
import { generateSigningKey } from "../../../src/pqc/signature.ts";
import { DownloadError, DownloadSlowError, DownloadWithheldError } from "../../../src/vmg/errors.ts";
import { type DownloadOptions, downloadPackage } from "../../../src/vmg/update/download.ts";
import { failDisk } from "../../support/disk_faults.ts";
import { noise } from "../../codec/support.ts";
import { problem, serveFile } from "../support/counterpart.ts";

const packageId = "0b7e1c52-9a36-4a10-8a52-0f3c8f6b1a36";
const vin = "KMHLN4DJ1PU123456";
const signingKey = await generateSigningKey();
const blockSize = 16_384;

/** Images that do not compress: ECU_1 and ECU_2 behind one gateway, ECU_3 behind another. */
const made = await makePackage(7);
const { bytes, front } = made;

async function makePackage(seed: number, firstSize = 200_000) {
  const directory = await Deno.makeTempDir({ prefix: "vmg-download-" });
  await using pool = new CodecPool();
  try {
    const ecu = async (number: number, size: number) => {
      const image = noise(size, seed + number);
      const path = `${directory}/${number}`;
      await Deno.writeFile(path, image);
      const blob = await compressImage(path, `${path}.zst`, { pool });
      return {
        ecu_id: `ECU_${number}`,
        ecu_type: "BODY",
        hw_version: "1",
        version: "1.0.0",
        image: {
          image_id: crypto.randomUUID(),
          sha256: createHash("sha256").update(image).digest("hex"),
          size,
          segments: [{ address: 0, length: size }],
        },
        blob: { path: `${path}.zst`, length: blob.length, sha256: blob.sha256 },
      };
    };
    const output = `${directory}/package`;
    const built = await buildPackage({
      package_id: packageId,
      vehicle_id: vin,
      created: "2026-01-31T10:00:00Z",
      blockSize,
      zonal_gateways: [
        { zonal_gateway_id: "ZG_1", ecus: [await ecu(1, firstSize), await ecu(2, 100_000 + seed)] },
        { zonal_gateway_id: "ZG_2", ecus: [await ecu(3, 150_000 + seed)] },
      ],
      signingKey,
      output,
      pool,
    });
    const front = 16 + built.manifestBytes.length + built.signature.length;
    const file = await Deno.readFile(output);
    const places = built.manifest.zonal_gateways.flatMap(({ ecus }) =>
      ecus.map(({ blob }) => {
        const table = front + blob.offset;
        const data = table + 32 * Math.ceil(blob.length / blockSize);
        return { offset: blob.offset, table, data, end: data + blob.length };
      })
    );
    return { bytes: file, front, places };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

interface Place {
  options: DownloadOptions;
  directory: string;
  /** What `onBegin` noted. */
  begun: { etag: string | null; size: number }[];
  requests: { range: string | undefined; ifRange: string | undefined }[];
}

/** Runs `test` beside a server; the folder and the server end with it. */
async function against(listener: RequestListener, test: (place: Place) => Promise<void>): Promise<void> {
  const requests: Place["requests"] = [];
  const server = createServer((request, response) => {
    const { range, "if-range": ifRange } = request.headers;
    requests.push({ range, ifRange: typeof ifRange === "string" ? ifRange : undefined });
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.36.9", resolve));
  const address = server.address();
  assert(address !== null && typeof address === "object");
  const dispatcher = new Agent({ keepAliveTimeout: 10 });
  const directory = await Deno.makeTempDir({ prefix: "vmg-download-" });
  const begun: Place["begun"] = [];
  try {
    const rest = new RestClient({ origin: `http://127.0.36.9:${address.port}`, dispatcher });
    await test({
      directory,
      begun,
      requests,
      options: {
        rest,
        packageId,
        directory,
        verifyKeys: new Map([[signingKey.publicKey.keyId, signingKey.publicKey]]),
        vin,
        limits: {},
        accept: (_, blobs) => Promise.resolve(blobs),
        maxSize: 10_000_000,
        minFree: 0,
        patience: 60_000,
        minRate: 0,
        retryDelay: 5,
        maxRetryDelay: 20,
        onBegin: (etag, size) => begun.push({ etag, size }),
        onProgress: () => {},
        signal: new AbortController().signal,
        log: silentLogger,
      },
    });
  } finally {
    await dispatcher.destroy();
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await Deno.remove(directory, { recursive: true });
  }
}

/** The listener of a file server; `answer` counts from 0. */
function file(
  etag: () => string,
  cutAfter?: (answer: number) => number | undefined,
  content: () => Uint8Array = () => bytes,
): RequestListener {
  const served = serveFile({
    get bytes() {
      return content();
    },
    etag,
    ...(cutAfter === undefined ? {} : { cutAfter }),
  });
  return ({ headers, method = "", url = "" }, response) => {
    served.handler({ method, path: url, headers, body: undefined }, response);
  };
}

Deno.test("a cut download goes on where it stopped", async () => {
  const listener = file(() => '"a"', (answer) => answer < 2 ? 150_000 : undefined);
  await against(listener, async ({ options, requests, begun }) => {
    const path = await downloadPackage(options);
    assert.deepEqual(await Deno.readFile(path), bytes);
    assert.equal(requests.length, 3);
    assert.deepEqual(requests[0], { range: undefined, ifRange: undefined });
    for (const { range, ifRange } of requests.slice(1)) {
      assert.match(range ?? "", /^bytes=[1-9]\d*-$/);
      assert.equal(ifRange, '"a"');
    }
    assert.deepEqual(begun, [{ etag: '"a"', size: bytes.length }]);
  });
});

const [first, second, third] = made.places;
const known = { etag: '"a"', size: bytes.length };

/** A range that reaches to the end is asked for without its last byte. */
function run(from: number, end: number): string {
  return `bytes=${from}-${end === bytes.length ? "" : end - 1}`;
}

Deno.test("a download goes on after a restart of the program: in the front byte by byte, behind it with the block", async () => {
  for (
    const [left, from] of [
      [10, 10],
      [front - 1, front - 1],
      [front, front],
      [first.data + 2 * blockSize + 5, first.data + 2 * blockSize],
      [second.table + 7, second.table],
      [bytes.length - 1, third.data + blockSize * Math.floor((third.end - third.data) / blockSize)],
    ]
  ) {
    await against(file(() => '"a"'), async ({ options, requests, directory }) => {
      await Deno.writeFile(`${directory}/${packageId}.otap.part`, bytes.subarray(0, left));
      const path = await downloadPackage({ ...options, known });
      assert.deepEqual(await Deno.readFile(path), bytes);
      assert.deepEqual(requests, [{ range: `bytes=${from}-`, ifRange: '"a"' }], `${left}`);
    });
  }
});

Deno.test("blocks that the power took are fetched again, those alone", async () => {
  await against(file(() => '"a"'), async ({ options, requests, directory }) => {
    const torn = bytes.slice();
    torn.fill(0, first.data + blockSize, first.data + 2 * blockSize);
    torn[third.data] ^= 1;
    await Deno.writeFile(`${directory}/${packageId}.otap.part`, torn);
    assert.deepEqual(await Deno.readFile(await downloadPackage({ ...options, known })), bytes);
    assert.deepEqual(requests.map(({ range }) => range), [
      run(first.data + blockSize, first.data + 2 * blockSize),
      run(third.data, third.data + blockSize),
    ]);
  });
});

Deno.test("a table that the power took is fetched again, with the blob that nothing else vouches for", async () => {
  await against(file(() => '"a"'), async ({ options, requests, directory }) => {
    const torn = bytes.slice();
    torn[second.table + 40] ^= 1;
    await Deno.writeFile(`${directory}/${packageId}.otap`, torn);
    assert.deepEqual(await Deno.readFile(await downloadPackage({ ...options, known })), bytes);
    assert.deepEqual(requests.map(({ range }) => range), [run(second.table, second.end)]);
  });
});

Deno.test("a front that the power took is fetched again, and what lies behind it is not", async () => {
  await against(file(() => '"a"'), async ({ options, requests, directory }) => {
    const torn = bytes.slice();
    torn[30] ^= 1;
    await Deno.writeFile(`${directory}/${packageId}.otap.part`, torn);
    assert.deepEqual(await Deno.readFile(await downloadPackage({ ...options, known })), bytes);
    assert.deepEqual(requests.map(({ range }) => range), [undefined]);
  });
});

Deno.test("a block that comes corrupted is fetched again, that block alone", async () => {
  let answers = 0;
  const corrupted = bytes.slice();
  corrupted[first.data + 3 * blockSize + 9] ^= 0x10;
  const listener = file(() => '"a"', undefined, () => answers++ === 0 ? corrupted : bytes);
  await against(listener, async ({ options, requests }) => {
    assert.deepEqual(await Deno.readFile(await downloadPackage(options)), bytes);
    assert.deepEqual(requests.map(({ range }) => range), [
      undefined,
      run(first.data + 3 * blockSize, first.data + 4 * blockSize),
    ]);
  });
});

Deno.test("a block or a table that is corrupted each time is given up on after three times", async () => {
  for (const [at, code] of [[second.data, "block_hash"], [second.table, "table_hash"]] as const) {
    const corrupted = bytes.slice();
    corrupted[at] ^= 1;
    await against(file(() => '"a"', undefined, () => corrupted), async ({ options, requests }) => {
      await assert.rejects(downloadPackage(options), (error) => {
        assert.ok(error instanceof PackageError);
        assert.equal(error.code, code);
        return true;
      });
      assert.equal(requests.length, 3);
    });
  }
});

Deno.test("only the parts that are wanted are fetched", async () => {
  for (const [wanted, expected] of [[[0], [0]], [[2], [2]], [[0, 2], [0, 2]], [[], []]]) {
    await against(file(() => '"a"'), async ({ options, requests, directory }) => {
      // The front is there: nothing is asked for but blobs.
      await Deno.writeFile(`${directory}/${packageId}.otap.part`, bytes.subarray(0, front));
      const path = await downloadPackage({
        ...options,
        known,
        accept: (_, blobs) => Promise.resolve(blobs.filter((_, index) => wanted.includes(index))),
      });
      const got = await Deno.readFile(path);
      assert.equal(got.length, bytes.length);
      for (const [index, place] of made.places.entries()) {
        const part = got.subarray(place.table, place.end);
        if (expected.includes(index)) assert.deepEqual(part, bytes.subarray(place.table, place.end));
        else assert.ok(part.every((byte) => byte === 0), "a gap");
      }
      assert.deepEqual(
        requests.map(({ range }) => range),
        expected.map((index) => run(made.places[index].table, made.places[index].end)),
      );
    });
  }
});

Deno.test("what is wanted later is fetched into the package that is there", async () => {
  await against(file(() => '"a"'), async ({ options, requests }) => {
    const only = (index: number) => ({
      ...options,
      known,
      accept: (_: unknown, blobs: readonly BlobEntry[]) => Promise.resolve([blobs[index]]),
    });
    await downloadPackage(only(0));
    const path = await downloadPackage(only(2));
    assert.equal(requests.at(-1)?.range, run(third.table, third.end));
    const got = await Deno.readFile(path);
    assert.deepEqual(got.subarray(0, first.end), bytes.subarray(0, first.end));
    assert.deepEqual(got.subarray(third.table), bytes.subarray(third.table));
  });
});

Deno.test("a server that knows no ranges gives the whole, of which what is missing is taken", async () => {
  let answers = 0;
  const listener: RequestListener = (_request, response) => {
    response.writeHead(200, { etag: '"a"', "content-length": bytes.length });
    if (answers++ > 1) response.end(bytes);
    else {
      response.write(bytes.subarray(0, answers * 120_000));
      setTimeout(() => response.destroy(), 20);
    }
  };
  await against(listener, async ({ options, begun }) => {
    const seen: number[] = [];
    const path = await downloadPackage({ ...options, onProgress: (done) => seen.push(done) });
    assert.deepEqual(await Deno.readFile(path), bytes);
    assert.equal(begun.length, 1);
    assert.deepEqual(seen, seen.toSorted((a, b) => a - b), "nothing that was there is lost");
  });
});

Deno.test("from a server that knows no ranges, what is wanted far behind the front is read up to, in one answer", async () => {
  const far = await makePackage(7, 2_000_000);
  const wanted = far.places[2];
  const listener: RequestListener = (_request, response) => {
    response.writeHead(200, { etag: '"a"', "content-length": far.bytes.length });
    response.end(far.bytes);
  };
  await against(listener, async ({ options, requests }) => {
    const path = await downloadPackage({
      ...options,
      signal: AbortSignal.timeout(20_000),
      accept: (_, blobs) => Promise.resolve([blobs[2]]),
    });
    const got = await Deno.readFile(path);
    assert.deepEqual(got.subarray(wanted.table), far.bytes.subarray(wanted.table));
    // The first one showed what is wanted.
    assert.deepEqual(requests.map(({ range }) => range), [undefined, `bytes=${wanted.table}-`]);
  });
});

Deno.test("a package that is another one with each answer is asked for after waits, and given up on after the patience", async () => {
  const far = await makePackage(7, 2_000_000);
  let answers = 0;
  const listener: RequestListener = (_request, response) => {
    response.writeHead(200, { etag: `"${answers++}"`, "content-length": far.bytes.length });
    response.end(far.bytes);
  };
  await against(listener, async ({ options }) => {
    await assert.rejects(
      downloadPackage({
        ...options,
        patience: 200,
        retryDelay: 50,
        maxRetryDelay: 50,
        signal: AbortSignal.timeout(20_000),
        accept: (_, blobs) => Promise.resolve([blobs[2]]),
      }),
      DownloadWithheldError,
    );
  });
});

Deno.test("what is not accepted is not fetched, and why is thrown as it is", async () => {
  const reason = new RangeError("not this one");
  await against(file(() => '"a"'), async ({ options, requests }) => {
    await assert.rejects(
      downloadPackage({ ...options, accept: () => Promise.reject(reason) }),
      (error) => error === reason,
    );
    assert.equal(requests.length, 1);
  });
});

Deno.test("a front that is not signed by a trusted key is refused at once", async () => {
  const forged = bytes.slice();
  forged[front - 1] ^= 1;
  await against(file(() => '"a"', undefined, () => forged), async ({ options, requests }) => {
    await assert.rejects(downloadPackage(options), { code: "bad_signature" });
    assert.equal(requests.length, 1);
  });
});

Deno.test("what was fetched of another entity tag is not used", async () => {
  const { bytes: other } = await makePackage(9);
  let changed = false;
  const listener = file(
    () => changed ? '"b"' : '"a"',
    (answer) => {
      if (answer > 0) return undefined;
      setTimeout(() => changed = true, 0);
      return 200_000;
    },
    () => changed ? other : bytes,
  );
  await against(listener, async ({ options, begun }) => {
    const path = await downloadPackage(options);
    assert.deepEqual(await Deno.readFile(path), other);
    assert.deepEqual(begun.map(({ etag }) => etag), ['"a"', '"b"']);
  });
});

Deno.test("a weak entity tag is not resumed with: a front begins anew, blocks have their hashes", async () => {
  for (
    const [cut, resumed] of [[1_000, [undefined, undefined]], [front + 100_000, [
      undefined,
      /^bytes=\d+-$/,
    ]]] as const
  ) {
    const listener = file(() => 'W/"a"', (answer) => answer === 0 ? cut : undefined);
    await against(listener, async ({ options, requests }) => {
      assert.deepEqual(await Deno.readFile(await downloadPackage(options)), bytes);
      assert.deepEqual(requests.map(({ ifRange }) => ifRange), [undefined, undefined]);
      for (const [at, expected] of resumed.entries()) {
        if (expected === undefined) assert.equal(requests[at].range, undefined);
        else assert.match(requests[at].range ?? "", expected);
      }
    });
  }
});

Deno.test("a part of another place of the file is thrown away", async () => {
  let answers = 0;
  const listener: RequestListener = (_request, response) => {
    if (answers++ === 0) {
      response.writeHead(206, {
        etag: '"a"',
        "content-range": `bytes 0-${bytes.length - 1}/${bytes.length}`,
      });
      response.end(bytes);
    } else {
      response.writeHead(200, { etag: '"a"', "content-length": bytes.length });
      response.end(bytes);
    }
  };
  await against(listener, async ({ options, directory }) => {
    await Deno.writeFile(`${directory}/${packageId}.otap.part`, bytes.subarray(0, 1_000));
    const path = await downloadPackage({ ...options, known: { etag: '"a"', size: bytes.length } });
    assert.deepEqual(await Deno.readFile(path), bytes);
    assert.equal(answers, 2);
  });
});

for (const status of [400, 403, 404, 410]) {
  Deno.test(`a ${status} is given up on at once`, async () => {
    await against((_, response) => problem(response, status, "no"), async ({ options, requests }) => {
      await assert.rejects(downloadPackage(options), (error) => {
        assert(error instanceof ProblemError);
        return error.status === status;
      });
      assert.equal(requests.length, 1);
    });
  });
}

Deno.test("a 503 is tried again", async () => {
  const serve = file(() => '"a"');
  let answers = 0;
  await against((request, response) => {
    if (answers++ < 2) problem(response, 503, "later");
    else serve(request, response);
  }, async ({ options }) => {
    assert.deepEqual(await Deno.readFile(await downloadPackage(options)), bytes);
    assert.equal(answers, 3);
  });
});

Deno.test("a server whose bytes trickle is given up on, however long each of them is waited for", async () => {
  const trickle: RequestListener = (_request, response) => {
    response.writeHead(200, { etag: '"v1"', "content-length": bytes.length });
    let at = 0;
    const timer = setInterval(() => response.write(bytes.subarray(at, ++at)), 5);
    response.on("close", () => clearInterval(timer));
  };
  await against(trickle, async ({ options }) => {
    await assert.rejects(
      downloadPackage({ ...options, patience: 100, minRate: 100_000 }),
      (error) => {
        assert.ok(error instanceof DownloadSlowError);
        assert.match(error.message, /expected 100000 bytes a second, got \d+ over \d+ ms/);
        return true;
      },
    );
  });
});

Deno.test("a server that gives no byte is given up on after the patience", async () => {
  await against((_, response) => problem(response, 503, "later"), async ({ options, requests }) => {
    await assert.rejects(
      downloadPackage({ ...options, patience: 50 }),
      (error) => error instanceof DownloadError && /no new byte within 50 ms/.test(error.message),
    );
    assert(requests.length > 1);
  });
});

Deno.test("a package beyond the limit is refused before its bytes are taken", async () => {
  await against(file(() => '"a"'), async ({ options, directory }) => {
    await assert.rejects(
      downloadPackage({ ...options, maxSize: bytes.length - 1 }),
      (error) =>
        error instanceof DownloadError &&
        error.message.includes(`expected 1 to ${bytes.length - 1} bytes, got ${bytes.length}`),
    );
    assert.equal((await Deno.stat(`${directory}/${packageId}.otap.part`)).size, 0);
  });
});

Deno.test("a disk without enough room is said before the download", async () => {
  await against(file(() => '"a"'), async ({ options }) => {
    await assert.rejects(
      downloadPackage({ ...options, minFree: Number.MAX_SAFE_INTEGER / 4 }),
      (error) => error instanceof DownloadError && /free bytes/.test(error.message),
    );
  });
});

Deno.test("an answer without a length is refused", async () => {
  const listener: RequestListener = (_, response) => {
    response.writeHead(200, { etag: '"a"', "transfer-encoding": "chunked" });
    response.end(bytes);
  };
  await against(listener, async ({ options }) => {
    await assert.rejects(downloadPackage(options), /expected a Content-Length, got none/);
  });
});

Deno.test("a package that is whole is not fetched again", async () => {
  await against((_, response) => problem(response, 500, "no"), async ({ options, directory, requests }) => {
    await Deno.writeFile(`${directory}/${packageId}.otap`, bytes);
    assert.equal(await downloadPackage({ ...options, known }), `${directory}/${packageId}.otap`);
    assert.equal(requests.length, 0);
  });
});

Deno.test("an aborted download ends with the signal's reason and leaves no whole file", async () => {
  const controller = new AbortController();
  const reason = new Error("stop");
  const listener: RequestListener = (_, response) => {
    response.writeHead(200, { etag: '"a"', "content-length": bytes.length });
    response.write(bytes.subarray(0, 1_000));
  };
  await against(listener, async ({ options, directory }) => {
    const download = downloadPackage({
      ...options,
      signal: controller.signal,
      onProgress: (done) => {
        if (done === 1_000) controller.abort(reason);
      },
    });
    await assert.rejects(download, (error) => error === reason);
    await assert.rejects(Deno.stat(`${directory}/${packageId}.otap`), Deno.errors.NotFound);
    assert.equal((await Deno.stat(`${directory}/${packageId}.otap.part`)).size, 1_000);
  });
});

for (const fault of ["ENOSPC", "EIO", "short"] as const) {
  Deno.test(`${fault} at every write of a download: the second try has the package, whole`, async () => {
    for (let at = 1;; at++) {
      let operations = 0;
      await against(file(() => '"a"'), async ({ options }) => {
        let failed = false;
        let known: DownloadOptions["known"];
        const onBegin = (etag: string | null, size: number) => known = { etag, size };
        {
          using disk = failDisk(fault, at);
          try {
            await downloadPackage({ ...options, onBegin });
          } catch {
            failed = true;
          }
          operations = disk.operations;
        }
        if (fault === "short") assert.equal(failed, false, `operation ${at}`);
        const path = await downloadPackage({ ...options, onBegin, ...known === undefined ? {} : { known } });
        assert.deepEqual(await Deno.readFile(path), bytes, `operation ${at}`);
      });
      if (operations < at) break;
    }
  });
}

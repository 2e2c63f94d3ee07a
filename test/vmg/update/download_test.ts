// Fetching a package from a plain HTTP server that cuts, changes and refuses.

import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { Agent } from "undici";
import { ProblemError, RestClient } from "../../../src/contract/client.ts";
import { silentLogger } from "../../../src/log.ts";
import { DownloadError } from "../../../src/vmg/errors.ts";
import { type DownloadOptions, downloadPackage } from "../../../src/vmg/update/download.ts";
import { failDisk } from "../../support/disk_faults.ts";
import { problem, serveFile } from "../support/counterpart.ts";

const packageId = "0b7e1c52-9a36-4a10-8a52-0f3c8f6b1a36";

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
        maxSize: 10_000_000,
        minFree: 0,
        patience: 60_000,
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

const bytes = Uint8Array.from({ length: 500_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff);

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
    assert.deepEqual(begun, [{ etag: '"a"', size: 500_000 }]);
  });
});

Deno.test("a download goes on after a restart of the program", async () => {
  await against(file(() => '"a"'), async ({ options, requests, directory }) => {
    await Deno.writeFile(`${directory}/${packageId}.otap.part`, bytes.subarray(0, 123_456));
    const path = await downloadPackage({ ...options, known: { etag: '"a"', size: bytes.length } });
    assert.deepEqual(await Deno.readFile(path), bytes);
    assert.deepEqual(requests, [{ range: "bytes=123456-", ifRange: '"a"' }]);
  });
});

Deno.test("what was fetched of another entity tag is not used", async () => {
  const other = bytes.map((byte) => byte ^ 0xff);
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

Deno.test("a weak entity tag is not resumed with", async () => {
  const listener = file(() => 'W/"a"', (answer) => answer === 0 ? 100_000 : undefined);
  await against(listener, async ({ options, requests }) => {
    assert.deepEqual(await Deno.readFile(await downloadPackage(options)), bytes);
    assert.deepEqual(requests.map(({ range }) => range), [undefined, undefined]);
  });
});

Deno.test("a part of another place of the file is thrown away", async () => {
  let answers = 0;
  const listener: RequestListener = (_request, response) => {
    if (answers++ === 0) {
      response.writeHead(206, { etag: '"a"', "content-range": `bytes 0-499999/500000` });
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
      downloadPackage({ ...options, maxSize: 499_999 }),
      (error) =>
        error instanceof DownloadError && /expected 1 to 499999 bytes, got 500000/.test(error.message),
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
    assert.equal(await downloadPackage(options), `${directory}/${packageId}.otap`);
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

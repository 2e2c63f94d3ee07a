// An operator in a process of its own, for tests whose server is in another network namespace: reads requests, one JSON object
// a line, and answers each with a line. Arguments: origin, folder of the PKI.

import { request } from "undici";
import { loadCredentials } from "../../src/pqc/pki_directory.ts";
import { httpsAgent } from "../../src/tls/https_agent.ts";

const [origin, pki] = Deno.args;
const credentials = await loadCredentials(pki, "operator-bench");
const dispatcher = httpsAgent({ credentials, trust: credentials.trust, connections: 1 });

let begun = "";
for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const lines = (begun + text).split("\n");
  begun = lines.pop() ?? "";
  for (const line of lines) {
    const { method, path, body } = JSON.parse(line);
    const response = await request(`${origin}${path}`, {
      method,
      dispatcher,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    console.log(JSON.stringify({ status: response.statusCode, body: await response.body.json() }));
  }
}
await dispatcher.destroy();

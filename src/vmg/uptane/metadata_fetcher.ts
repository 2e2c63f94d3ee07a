// Fetches metadata and attested time over the vehicle's own HTTPS connection. TLS says who the server is; what the server gives is
// not believed for that.

import { Buffer } from "node:buffer";
import type { Dispatcher } from "undici";
import type { RestClient } from "../../contract/client.ts";
import { routes } from "../../contract/routes.ts";
import type { FetchRequest, MetadataFetcher } from "../../uptane/store.ts";

/** A fetcher for one vehicle. */
export function metadataFetcher(rest: RestClient, vin: string): MetadataFetcher {
  return {
    fetch: async ({ repository, fileName, signal }: FetchRequest) => {
      const options = { expected: [200, 404], signal };
      const response = repository === "director"
        ? await rest.open(routes.getDirectorFile, { path: { vin, director_file: fileName }, ...options })
        : await rest.open(routes.getImageFile, { path: { image_file: fileName }, ...options });
      if (response.statusCode === 200) return bodyOf(response);
      giveUp(response);
      return undefined;
    },
  };
}

/** A fetcher of the server's answer to nonces. */
export function timeFetcher(rest: RestClient, nonces: readonly string[]): MetadataFetcher {
  return {
    fetch: async ({ signal }) =>
      bodyOf(await rest.open(routes.attestTime, { body: { nonces: [...nonces] }, signal })),
  };
}

/** The body, which is given up when its reader has enough. */
async function* bodyOf(response: Dispatcher.ResponseData): AsyncGenerator<Uint8Array, void, void> {
  try {
    for await (const part of response.body) yield Buffer.from(part);
  } finally {
    giveUp(response);
  }
}

function giveUp({ body }: Dispatcher.ResponseData): void {
  body.on("error", () => {}); // Whoever read it has heard of that.
  body.destroy();
}

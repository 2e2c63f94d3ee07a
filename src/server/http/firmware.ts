// Routes of the firmware catalogue: upload as a stream, list.

import { routes } from "../../contract/routes.ts";
import { type Catalogue, FirmwareRefused } from "../ota/catalogue.ts";
import { bodyParts } from "./body.ts";
import type { Mount } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface FirmwareRouteOptions {
  catalogue: Catalogue;
  /** Largest file. */
  maxFirmware: number;
  /** Longest pause within the body, in milliseconds. */
  idleTimeout: number;
}

export function mountFirmware(mount: Mount, options: FirmwareRouteOptions): void {
  const { catalogue, maxFirmware, idleTimeout } = options;

  mount(routes.addFirmware, async ({ query, incoming, signal }) => {
    const type = incoming.headers["content-type"]?.split(";")[0].trim().toLowerCase();
    if (type !== undefined && type !== "application/octet-stream" && type !== "text/plain") {
      throw new HttpProblem(415, `expected the file as application/octet-stream, got ${type}`, {
        code: "not_a_file",
        headers: { accept: "application/octet-stream" },
        close: true,
      });
    }
    try {
      return await catalogue.add(
        bodyParts(incoming, { maxBytes: maxFirmware, pause: idleTimeout }),
        query,
        signal,
      );
    } catch (error) {
      if (!(error instanceof FirmwareRefused)) throw error;
      const { line, code, message } = error;
      throw new HttpProblem(422, `the file is refused: ${message}`, {
        code: `firmware_${code}`,
        errors: line === undefined ? undefined : [{ path: `line ${line}`, message }],
        cause: error,
        // The rest of the file may still be on its way.
        close: !incoming.complete,
      });
    }
  });

  mount(routes.listFirmware, ({ query }) => catalogue.list(query));
}

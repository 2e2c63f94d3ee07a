// Routes of signed metadata: files of both repositories, attested time, and the inventory of ECUs' keys.

import { routes } from "../../contract/routes.ts";
import { signedDocument } from "../../contract/uptane.ts";
import type { Director } from "../uptane/director.ts";
import type { GivenOut } from "../uptane/given_out.ts";
import type { ImageRepository } from "../uptane/image_repository.ts";
import type { Inventory } from "../uptane/inventory.ts";
import type { TimeServer } from "../uptane/time_server.ts";
import { decideRange } from "./byte_range.ts";
import type { Mount } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface UptaneRouteOptions {
  director: Director;
  images: ImageRepository;
  time: TimeServer;
  inventory: Inventory;
}

export function mountUptane(mount: Mount, { director, images, time, inventory }: UptaneRouteOptions): void {
  mount(routes.getDirectorFile, async ({ path, vehicle, method, header }) => {
    const file = await director.file(vehicle.vin, path.director_file);
    return fileAnswer(file, path.director_file, method, header("if-none-match"));
  });

  mount(
    routes.getImageFile,
    async ({ path, method, header }) =>
      fileAnswer(await images.file(path.image_file), path.image_file, method, header("if-none-match")),
  );

  mount(routes.attestTime, async ({ body, caller }) => {
    const bytes = await time.attest(caller.name, body.nonces);
    return signedDocument.parse(JSON.parse(new TextDecoder().decode(bytes)));
  });

  mount(routes.listInventory, async ({ query }) => await inventory.list(query));

  mount(routes.addToInventory, async ({ body }) => await inventory.add(body));

  mount(routes.removeFromInventory, async ({ body }) => {
    await inventory.remove(body.vin, body.ecu_id);
    return { status: "removed" as const };
  });
}

/** A metadata file: what has a number never changes, the timestamp is asked for anew each time. */
function fileAnswer(
  file: GivenOut | undefined,
  name: string,
  method: string,
  ifNoneMatch: string | undefined,
): Response {
  // A client asks for one root after another until there is no next one (TUF specification 1.0, section 5.3.3).
  if (file === undefined) {
    throw new HttpProblem(404, `there is no ${name}`, {
      code: "not_found",
      usual: name.endsWith(".root.json"),
    });
  }
  const { bytes, etag } = file;
  const headers = {
    etag,
    "cache-control": name === "timestamp.json" ? "private, no-cache" : "private, max-age=31536000, immutable",
    "content-type": "application/octet-stream",
  };
  if (decideRange({ method, ifNoneMatch }, etag, bytes.length).status === 304) {
    return new Response(null, { status: 304, headers });
  }
  return new Response(method === "HEAD" ? null : bytes, {
    headers: { ...headers, "content-length": String(bytes.length) },
  });
}

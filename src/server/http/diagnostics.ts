// Routes of remote diagnosis: send, broadcast, results.

import { pathOf, routes } from "../../contract/routes.ts";
import { type DiagnosticsService, NoEcuKnown } from "../diagnostics/service.ts";
import type { Registry } from "../registry.ts";
import type { Vehicle } from "../store/mod.ts";
import type { Mount } from "./mount.ts";
import { HttpProblem } from "./problem.ts";

export interface DiagnosticsRouteOptions {
  registry: Registry;
  diagnostics: DiagnosticsService;
}

export function mountDiagnostics(mount: Mount, { registry, diagnostics }: DiagnosticsRouteOptions): void {
  async function named(id: string): Promise<Vehicle> {
    const vehicle = await registry.find(id);
    if (!vehicle) throw new HttpProblem(404, `there is no vehicle ${id}`, { code: "vehicle_unknown" });
    return vehicle;
  }

  mount(routes.sendDiagnostic, async ({ body }) => {
    const request_id = await diagnostics.send(await named(body.vin), body);
    return { status: "sent" as const, request_id, polling_url: pollingUrl(request_id) };
  });

  mount(routes.broadcastDiagnostic, async ({ body }) => {
    const vehicle = await named(body.vin);
    try {
      const sent = await diagnostics.broadcast(vehicle, body);
      return {
        status: "sent" as const,
        requests: sent.map((request) => ({ ...request, polling_url: pollingUrl(request.request_id) })),
      };
    } catch (error) {
      if (!(error instanceof NoEcuKnown)) throw error;
      throw new HttpProblem(409, error.message, { code: "no_ecu_known", cause: error });
    }
  });

  mount(routes.listDiagnostics, ({ query }) => diagnostics.list(query));

  mount(routes.getDiagnostic, ({ path }) => diagnostics.get(path.request_id));
}

function pollingUrl(request_id: string): string {
  return pathOf(routes.getDiagnostic, { request_id });
}

// The OpenAPI 3.1 document, made from the contract's table of routes.

import { z } from "zod";
import { problem, problemMediaType } from "../../contract/problem.ts";
import type { Route } from "../../contract/routes.ts";

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null | undefined;

/** JSON Schema 2020-12, the dialect of OpenAPI 3.1. */
function schemaOf(schema: z.ZodType): Json {
  // What is sent is what goes into a schema; defaults are filled in behind it.
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return JSON.parse(JSON.stringify(rest));
}

function parametersOf(route: Route): Json[] {
  const inPath = [...route.path.matchAll(/\{([a-z_]+)\}/g)].map(([, name]): Json => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const inQuery = Object.entries(route.query?.shape ?? {}).map(([name, schema]): Json => ({
    name,
    in: "query",
    required: !z.safeParse(schema, undefined).success,
    schema: schemaOf(schema),
  }));
  return [...inPath, ...inQuery];
}

function bodyOf(route: Route): Json {
  if (route.streamBody) {
    return { required: true, content: { "application/octet-stream": { schema: {} } } };
  }
  return route.body && { required: true, content: { "application/json": { schema: schemaOf(route.body) } } };
}

function answersOf(route: Route): Json {
  const content = route.answer
    ? { "application/json": { schema: schemaOf(route.answer) } }
    : { "application/octet-stream": { schema: {} } };
  return {
    [String(route.status)]: { description: route.summary, content },
    default: {
      description: "The request is refused (RFC 9457).",
      content: { [problemMediaType]: { schema: { $ref: "#/components/schemas/Problem" } } },
    },
  };
}

/** The document. */
export function openApi(routes: readonly Route[], version: string): Json {
  const paths: { [path: string]: { [method: string]: Json } } = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    const parameters = parametersOf(route);
    paths[route.path][route.method.toLowerCase()] = {
      operationId: route.id,
      summary: route.summary,
      description: `For: ${route.caller}.`,
      ...(parameters.length > 0 ? { parameters } : {}),
      ...(route.body || route.streamBody ? { requestBody: bodyOf(route) } : {}),
      responses: answersOf(route),
      security: [{ mutualTLS: [] }],
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Zonebench OTA server",
      version,
      description: "Firmware updates and remote diagnosis for vehicles on a test bench.",
    },
    paths,
    components: {
      schemas: { Problem: schemaOf(problem) },
      securitySchemes: {
        mutualTLS: {
          type: "mutualTLS",
          description: "Common name vehicle-{VIN} is a vehicle, organisational unit operator an operator.",
        },
      },
    },
  };
}

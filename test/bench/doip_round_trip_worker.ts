/// <reference lib="deno.worker" />
// The bench's servers in a thread of their own; posts their ports.

import { startServers } from "./doip_round_trip_servers.ts";

const { entity, raw } = await startServers();
self.postMessage({ entity, raw });

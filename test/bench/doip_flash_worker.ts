/// <reference lib="deno.worker" />
// The servers of the flash bench in a thread of their own.
import { startServers } from "./doip_flash_servers.ts";

self.postMessage(await startServers());

/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
// A thread whose disk fails when its program's does: it runs the module that the first message names. What comes before that
// module listens is kept for it.

import { DiskControl } from "./disk_control.ts";
import { failDatabaseFiles, failFiles } from "./failing_files.ts";

const kept: MessageEvent[] = [];

async function begin({ data }: MessageEvent<{ module: string; memory: SharedArrayBuffer }>): Promise<void> {
  const disk = new DiskControl(data.memory);
  failFiles(disk);
  failDatabaseFiles(disk);
  const keep = (event: MessageEvent) => {
    event.stopImmediatePropagation();
    kept.push(event);
  };
  self.addEventListener("message", keep);
  await import(data.module);
  self.removeEventListener("message", keep);
  for (const { data } of kept.splice(0)) self.dispatchEvent(new MessageEvent("message", { data }));
}

self.addEventListener(
  "message",
  (event: MessageEvent<{ module: string; memory: SharedArrayBuffer }>) => void begin(event),
  { once: true },
);

// How an update's state is put into words for a person who follows it.

import type { ShownWait } from "../contract/campaign.ts";
import type { Update } from "../contract/ota.ts";

/** Steps of an ECU in plain words; steps that are not here are told by their own names. */
const steps: Readonly<Record<string, string>> = {
  read_memory: "saving its old software",
  extended_session: "getting ready",
  check_preconditions: "getting ready",
  dtc_setting_off: "getting ready",
  communication_off: "getting ready",
  programming_session: "getting ready",
  security_access: "unlocking",
  write_fingerprint: "getting ready",
  erase_memory: "erasing memory",
  request_download: "transferring",
  transfer_data: "transferring",
  request_transfer_exit: "transferring",
  call_software: "starting what was sent",
  check_memory: "checking its memory",
  activate: "activating",
  check_dependencies: "activating",
  ecu_reset: "restarting",
  wait_for_restart: "restarting",
  verify_version: "reading its version back",
  confirm: "confirming the new software",
  commit: "giving the old software up",
  roll_back: "going back to its old software",
  communication_on: "finishing",
  dtc_setting_on: "finishing",
};

type Ecu = Update["ecus"][number];

/** `installing, 1 of 3 ECUs done, attempt 2 of 3, ECU_002 transferring 45 %, 1.2 of 3.0 MiB … ` */
export function describeUpdate(update: Update): string {
  const { ecus, attempt, attempts, waiting, status, approved } = update;
  const count = (wanted: Ecu["status"]) => ecus.filter((ecu) => ecu.status === wanted).length;
  const back = count("rolled_back");
  return [
    `${status}, ${count("completed")} of ${ecus.length} ECUs done`,
    ...attempts === 1 ? [] : [`attempt ${attempt} of ${attempts}`],
    ...approved === null ? [] : [`approved by the ${approved.by}`],
    ...update.cancel_requested ? ["asked to stop"] : [],
    ...back === 0 ? [] : [`${back} back on the old software`],
    ...waiting === null ? [] : [waitText(waiting)],
    ...ecus.filter((ecu) => ecu.status === "installing").map(describeEcu),
  ].join(", ");
}

function describeEcu({ ecu_id, step, progress, bytes, speed, time_left }: Ecu): string {
  const words = step === null ? "" : ` ${Object.hasOwn(steps, step) ? steps[step] : step}`;
  return [
    `${ecu_id}${words} (${Math.floor(progress)} %`,
    ...bytes === null ? [] : [` ${kibibytes(bytes)} KiB`],
    ...speed === null ? [] : [` at ${kibibytes(speed)} KiB/s`],
    ...time_left === null ? [] : [` ${secondsText(time_left)} left`],
  ].join(",") + ")";
}

/** What it waits for: `waits until the vehicle is parked (speed: expected 0, it is 32)` */
export function waitText({ for: what, detail, until }: ShownWait): string {
  switch (what) {
    case "approval":
      return "waits for approval";
    case "parked":
      return `waits until the vehicle is parked (${detail})`;
    case "conditions":
      return `waits for a condition (${detail})`;
    case "vehicle":
      return `waits for the vehicle: ${detail}`;
    case "retry":
      return `failed, ${detail} begins at ${until ?? "once the server comes to it"}`;
  }
}

/** What somebody can do about a wait; undefined where waiting is all. */
export function nextStep({ update_id, waiting }: Update): string | undefined {
  switch (waiting?.for) {
    case "approval":
      return `Next: zonebench update approve ${update_id}, or at the vehicle: zonebench vehicle approve ${update_id}`;
    case "parked":
    case "conditions":
      return `It goes on by itself once that holds. To stop it: zonebench update cancel ${update_id}`;
    case "vehicle":
      return "Is the vehicle's gateway running? On its machine: zonebench link status";
    case "retry":
      return `It goes on by itself. To leave it at that: zonebench update cancel ${update_id}`;
    case undefined:
      return undefined;
  }
}

function kibibytes(bytes: number): string {
  return (bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0);
}

function secondsText(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 120 ? `${whole} s` : `${Math.ceil(whole / 60)} min`;
}

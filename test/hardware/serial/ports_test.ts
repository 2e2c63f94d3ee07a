import assert from "node:assert/strict";
import { listPorts, type SystemFiles, systemFiles } from "../../../hardware/serial/ports.ts";

/** Folders as a kernel shows them, written down from machines with such adapters. */
function filesOf(
  folders: Record<string, Record<string, string>>,
  lines: Record<string, string>,
): SystemFiles {
  return {
    entries: (folder) =>
      Promise.resolve(Object.entries(folders[folder] ?? {}).map(([name, target]) => ({ name, target }))),
    line: (path) => Promise.resolve(lines[path]),
  };
}

Deno.test("ports with a device behind them are listed, with what USB tells", async () => {
  const acm = "/sys/class/tty/ttyACM0";
  const usb = "/sys/class/tty/ttyUSB10";
  const ports = await listPorts({
    files: filesOf({
      "/dev/serial/by-id": { "usb-Openlight_Labs_CANable2_2057-if00": "../../ttyACM0" },
      "/sys/class/tty": {
        "tty0": "../../devices/virtual/tty/tty0",
        "ttyUSB10": "../../devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/ttyUSB10/tty/ttyUSB10",
        "ttyUSB9": "../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/ttyUSB9/tty/ttyUSB9",
        "ttyS0": "../../devices/pnp0/00:04/tty/ttyS0",
        "ttyS1": "../../devices/platform/serial8250/tty/ttyS1",
        "ttyACM0": "../../devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/tty/ttyACM0",
      },
      [`${acm}/device`]: { driver: "../../../../../../bus/usb/drivers/cdc_acm" },
      [`${usb}/device`]: { driver: "../../../../../../../bus/usb-serial/drivers/ftdi_sio" },
    }, {
      [`${acm}/device/../idVendor`]: "16d0",
      [`${acm}/device/../idProduct`]: "117e",
      [`${acm}/device/../manufacturer`]: "Openlight Labs",
      [`${acm}/device/../product`]: "CANable2",
      [`${acm}/device/../serial`]: "2057",
      [`${usb}/device/../../idVendor`]: "0403",
      [`${usb}/device/../../idProduct`]: "ffa8",
      "/sys/class/tty/ttyS0/type": "4",
      "/sys/class/tty/ttyS1/type": "0",
    }),
  });
  assert.deepEqual(ports.map((port) => port.path), [
    "/dev/ttyACM0",
    "/dev/ttyS0",
    "/dev/ttyUSB9",
    "/dev/ttyUSB10",
  ]);
  assert.deepEqual(ports[0], {
    path: "/dev/ttyACM0",
    byId: "/dev/serial/by-id/usb-Openlight_Labs_CANable2_2057-if00",
    driver: "cdc_acm",
    vendorId: "16d0",
    productId: "117e",
    manufacturer: "Openlight Labs",
    product: "CANable2",
    serialNumber: "2057",
  });
  assert.equal(ports[3].productId, "ffa8");
  assert.equal(ports[3].driver, "ftdi_sio");
});

Deno.test("a machine without any has none", async () => {
  assert.deepEqual(await listPorts({ files: filesOf({}, {}) }), []);
});

Deno.test("the system's own folders are read", async () => {
  const files = systemFiles();
  const names = (await files.entries("/sys/class/tty")).map((entry) => entry.name);
  assert.ok(names.includes("tty"), names.join());
  assert.equal((await files.line("/sys/class/tty/tty/dev"))?.includes(":"), true);
  assert.equal(await files.line("/sys/class/tty/tty/no_such_file"), undefined);
  assert.deepEqual(await files.entries("/sys/class/no_such_folder"), []);
});

import assert from "node:assert/strict";
import {
  errorOfSystem,
  LineSettingsError,
  NotSerialError,
  PortBusyError,
  PortMissingError,
  PortPermissionError,
  SerialError,
  UnpluggedError,
} from "../../../hardware/serial/errors.ts";
import { readBaudRate, stty, sttyArguments } from "../../../hardware/serial/stty.ts";
import { interopTest } from "../../support/peers.ts";
import { ptyPair, socat } from "../../support/serial_peers.ts";

Deno.test("settings become stty's words, the rate last", () => {
  assert.equal(
    sttyArguments("p", { baudRate: 115_200 }).join(" "),
    "raw -echo -echonl -iexten clocal cread cs8 -cstopb -parenb -cmspar -crtscts -ixon -ixoff -ixany hupcl 115200",
  );
  assert.equal(
    sttyArguments("p", {
      baudRate: 9600,
      dataBits: 7,
      stopBits: 2,
      parity: "even",
      rtscts: true,
      xon: true,
      xoff: true,
      xany: true,
      hupcl: false,
    }).join(" "),
    "raw -echo -echonl -iexten clocal cread cs7 cstopb parenb -parodd -cmspar crtscts ixon ixoff ixany -hupcl 9600",
  );
});

Deno.test("what stty cannot set is refused, with the value", () => {
  assert.throws(() => sttyArguments("p", { baudRate: 1.5 }), /p: baud rate: .*got 1\.5/);
  assert.throws(
    () => sttyArguments("p", { baudRate: 9600, stopBits: 1.5 }),
    /stop bits: expected 1 or 2, got 1\.5/,
  );
  assert.throws(() => sttyArguments("p", { baudRate: 9600, parity: "toString" }), LineSettingsError);
});

Deno.test("what the system says becomes an error that says what to do", () => {
  const cases: [string, abstract new (...args: never[]) => SerialError, RegExp][] = [
    ["stty: /dev/ttyACM0: No such file or directory", PortMissingError, /plugged in/],
    ['E open("/dev/ttyACM0", 0400, 0666): Permission denied', PortPermissionError, /dialout/],
    ["E flock(): Resource temporarily unavailable", PortBusyError, /another program/],
    ["stty: /dev/ttyACM0: Device or resource busy", PortBusyError, /another program/],
    ["stty: /dev/null: Inappropriate ioctl for device", NotSerialError, /not a serial line/],
    ["stty: /dev/ttyUSB0: Input/output error", UnpluggedError, /unplugged/],
    ["stty: /dev/tty: No such device or address", UnpluggedError, /unplugged/],
    ["something new", SerialError, /something new/],
  ];
  for (const [told, type, message] of cases) {
    const error = errorOfSystem("/dev/ttyACM0", told);
    assert.ok(error instanceof type, told);
    assert.match(error.message, message);
    assert.equal(error.port, "/dev/ttyACM0");
  }
});

interopTest("a line is set, and its rate read back", [socat], async () => {
  await using pair = await ptyPair();
  await stty(pair.left, sttyArguments(pair.left, { baudRate: 1_000_000 }));
  assert.equal(await readBaudRate(pair.left), 1_000_000);
  const all = await stty(pair.left, ["-a"]);
  for (const word of ["-icanon", "-echo", "-icrnl", "-opost", "-isig", "cs8", "clocal"]) {
    assert.ok(all.split(/[\s;]+/).includes(word), word);
  }
});

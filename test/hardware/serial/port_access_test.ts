// Who may open a serial port, from what ls and id say.
import assert from "node:assert/strict";
import { accessOf } from "../../../hardware/serial/port_access.ts";

const port = "crw-rw---- 1 root dialout 188, 0 Nov 21 10:00 /dev/ttyUSB0\n";

Deno.test("a member of the port's group may open it, others may not, root may", () => {
  assert.deepEqual(accessOf(port, "uid=1000(ana) gid=1000(ana) groups=1000(ana),20(dialout)\n"), {
    mode: "crw-rw----",
    owner: "root",
    group: "dialout",
    allowed: true,
  });
  assert.equal(accessOf(port, "uid=1000(ana) gid=1000(ana) groups=1000(ana),27(sudo)")?.allowed, false);
  assert.equal(accessOf(port, "uid=1000(ana) gid=20(dialout)")?.allowed, true);
  assert.equal(accessOf(port, "uid=0(root) gid=0(root) groups=0(root)")?.allowed, true);
});

Deno.test("the first class that fits is the one that counts", () => {
  // The owner may not, though everybody else may.
  const odd = "c---rw-rw- 1 ana dialout 188, 0 Nov 21 10:00 /dev/ttyUSB0";
  assert.equal(accessOf(odd, "uid=1000(ana) gid=20(dialout)")?.allowed, false);
  assert.equal(accessOf(odd, "uid=1001(bob) gid=1001(bob)")?.allowed, true);
  // An access control list shows as a plus sign.
  assert.equal(accessOf(port.replace("---- ", "----+ "), "uid=0(root) gid=0(root)")?.mode, "crw-rw----");
});

Deno.test("users and groups without names are told by their numbers", () => {
  const numbers = "crw-rw---- 1 0 46 188, 0 Nov 21 10:00 /dev/ttyUSB0";
  assert.equal(accessOf(numbers, "uid=1000 gid=1000 groups=1000,46")?.allowed, true);
  assert.equal(accessOf(numbers, "uid=1000 gid=1000 groups=1000,45")?.allowed, false);
});

Deno.test("what is no device, or no answer, tells nothing", () => {
  assert.equal(accessOf("-rw-r--r-- 1 root root 5 Nov 21 10:00 file", "uid=0(root) gid=0(root)"), undefined);
  assert.equal(accessOf(port, ""), undefined);
});

import assert from "node:assert/strict";
import {
  anyResponderRoute,
  anyTesterRoute,
  type IsoTpAddress,
  type IsoTpFunctionalAddress,
  resolveAddress,
  resolveFunctional,
  responderAddress,
  type Route,
  showRoute,
} from "../../../hardware/isotp/address.ts";

Deno.test("each addressing format comes to the identifiers and address bytes of 10.3", () => {
  const rows: [address: IsoTpAddress, request: string, response: string][] = [
    [{ format: "normal", requestId: 0x7e0, responseId: 0x7e8 }, "0x7E0", "0x7E8"],
    [
      { format: "normal", requestId: 0x18000123, responseId: 0x18000456 },
      "0x18000123",
      "0x18000456",
    ],
    [{ format: "normal", requestId: 0x7e0, responseId: 0x7e8, idBits: 29 }, "0x000007E0", "0x000007E8"],
    [{ format: "normal_fixed", ecu: 0x10 }, "0x18DA10F1", "0x18DAF110"],
    [{ format: "normal_fixed", ecu: 0x10, tester: 0xfa, priority: 3 }, "0x0CDA10FA", "0x0CDAFA10"],
    [{ format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12 }, "0x600/0x12", "0x601/0xF1"],
    [
      { format: "extended", requestId: 0x600, responseId: 0x601, ecu: 0x12, tester: 0x22 },
      "0x600/0x12",
      "0x601/0x22",
    ],
    [
      { format: "mixed_11", requestId: 0x710, responseId: 0x718, addressExtension: 0x99 },
      "0x710/0x99",
      "0x718/0x99",
    ],
    [{ format: "mixed_29", ecu: 0x10, addressExtension: 0x99 }, "0x18CE10F1/0x99", "0x18CEF110/0x99"],
  ];
  for (const [address, request, response] of rows) {
    const routes = resolveAddress(address);
    assert.equal(showRoute(routes.request), request);
    assert.equal(showRoute(routes.response), response);
  }
});

Deno.test("functional addresses come to 18DB, 18CD, a free identifier, or the group in the first byte", () => {
  const rows: [address: IsoTpFunctionalAddress, expected: string][] = [
    [{ format: "normal", requestId: 0x7df }, "0x7DF"],
    [{ format: "normal_fixed", group: 0x33 }, "0x18DB33F1"],
    [{ format: "extended", requestId: 0x600, group: 0xfe }, "0x600/0xFE"],
    [{ format: "mixed_11", requestId: 0x7df, addressExtension: 0x01 }, "0x7DF/0x01"],
    [{ format: "mixed_29", group: 0x33, tester: 0xf2, addressExtension: 0x01 }, "0x18CD33F2/0x01"],
  ];
  for (const [address, expected] of rows) assert.equal(showRoute(resolveFunctional(address)), expected);
});

function hears(route: Route | undefined, id: number): boolean {
  return route !== undefined && (id & route.mask) === (route.id & route.mask);
}

Deno.test("fixed formats are heard with any priority, and by a server from any tester", () => {
  const { request } = resolveAddress({ format: "normal_fixed", ecu: 0x10, tester: 0xf1 });
  assert.ok(hears(request, 0x18da10f1));
  assert.ok(hears(request, 0x00da10f1));
  assert.ok(!hears(request, 0x18da10f2));
  const any = anyTesterRoute({ format: "normal_fixed", ecu: 0x10 });
  assert.ok(hears(any, 0x18da10f1) && hears(any, 0x1cda10f9));
  assert.ok(!hears(any, 0x18da11f1) && !hears(any, 0x18db10f1));
  assert.equal(anyTesterRoute({ format: "normal_fixed", ecu: 0x10, tester: 0xf1 }), undefined);
  assert.equal(anyTesterRoute({ format: "normal", requestId: 1, responseId: 2 }), undefined);
});

Deno.test("whoever answers a fixed functional request has a physical address of its own", () => {
  const group: IsoTpFunctionalAddress = { format: "normal_fixed", group: 0x33 };
  const any = anyResponderRoute(group);
  assert.ok(hears(any, 0x18daf110) && hears(any, 0x18daf1ff));
  assert.ok(!hears(any, 0x18da10f1));
  assert.equal(showRoute(resolveAddress(responderAddress(group, 0x42)).request), "0x18DA42F1");
  assert.throws(
    () => responderAddress({ format: "normal", requestId: 0x7df }, 1),
    /normal addresses do not tell/,
  );
});

Deno.test("addresses that cannot be are refused, quoting them", () => {
  const rows: [address: unknown, message: RegExp][] = [
    [{ format: "normal", requestId: -1, responseId: 0x7e8 }, /requestId.*got -1/],
    [{ format: "normal", requestId: 0x20000000, responseId: 1 }, /requestId.*got 0x20000000/],
    [{ format: "normal", requestId: 0x800, responseId: 0x7e8, idBits: 11 }, /requestId.*got 0x800/],
    [{ format: "normal", requestId: 0x7e0, responseId: 0x7e8, idBits: 12 }, /idBits.*got 12/],
    [{ format: "normal", requestId: 0x7e0, responseId: 0x7e0 }, /responseId.*0x7E0/],
    [{ format: "normal_fixed", ecu: 0x100 }, /target address.*got 256/],
    [{ format: "normal_fixed", ecu: 0xf1 }, /tester.*0xF1/],
    [{ format: "normal_fixed", ecu: 0x10, priority: 8 }, /priority.*got 8/],
    [{ format: "extended", requestId: 1, responseId: 2, ecu: -1 }, /ecu.*got -1/],
    [{ format: "mixed_11", requestId: 1, responseId: 2, addressExtension: 300 }, /addressExtension.*got 300/],
    [{ format: "mixed", requestId: 1 }, /format.*mixed/],
  ];
  for (const [address, message] of rows) {
    assert.throws(() => resolveAddress(address as IsoTpAddress), { name: "RangeError", message });
  }
});

// Simulated ECUs on a CAN bus as UDS sees them: functional requests, and sessions that last as long as TesterPresent comes.
import assert from "node:assert/strict";
import { IsoTpClient } from "../../../hardware/isotp/client.ts";
import type { IsoTpAddress } from "../../../hardware/isotp/address.ts";
import { VirtualCanBus } from "../../../hardware/sim/can_bus.ts";
import { attachEcu } from "../../../hardware/sim/can_ecu.ts";
import type { SimulatedEcu } from "../../../hardware/sim/ecu.ts";
import { UdsClient } from "../../../hardware/uds/client.ts";
import { FunctionalClient } from "../../../hardware/uds/functional.ts";
import { bytes } from "../uds/loopback.ts";
import { TestClock } from "../uds/test_clock.ts";
import { bootedEcu } from "./fixtures.ts";

const addresses: IsoTpAddress[] = [
  { format: "normal", requestId: 0x7a0, responseId: 0x7a8 },
  { format: "normal", requestId: 0x7a1, responseId: 0x7a9 },
];

async function withBus(
  run: (parts: { clock: TestClock; ecus: SimulatedEcu[]; client: IsoTpClient }) => Promise<void>,
): Promise<void> {
  const clock = new TestClock();
  const bus = new VirtualCanBus({ name: "CAN_TEST", timing: "none", clock });
  const ecus: SimulatedEcu[] = [];
  for (const [n, address] of addresses.entries()) {
    const ecu = await bootedEcu({
      ecuId: `ECU_00${n}`,
      dataIdentifiers: n === 1 ? [{ did: 0x0200, data: "07" }] : [],
    }, { clock });
    const functional = { format: "normal", requestId: 0x7df } as const;
    attachEcu(ecu, bus, { adapterId: "CAN_TEST", address, functional }, { log: () => {}, clock });
    ecus.push(ecu);
  }
  const client = new IsoTpClient(bus.attach("tester"), { clock });
  try {
    await run({ clock, ecus, client });
  } finally {
    client.close();
    bus.close();
    for (const ecu of ecus) ecu.close();
  }
}

/** Lets time pass until a promise has its end. */
async function passing<T>(clock: TestClock, promise: Promise<T>): Promise<T> {
  let over = false;
  const ended = promise.finally(() => over = true);
  ended.catch(() => {});
  for (let turn = 0; !over && turn < 500; turn++) await clock.advance(10);
  assert.ok(over, "no end within 5 s");
  return await ended;
}

Deno.test("one functional request over CAN reaches all ECUs; those that do not support it say nothing", () =>
  withBus(async ({ clock, ecus, client }) => {
    const group = client.functional({ format: "normal", requestId: 0x7df }, { responders: addresses });
    const functional = new FunctionalClient(group, { clock });
    const all = await passing(clock, functional.requestAll(bytes("22 F1 86")));
    assert.deepEqual(
      all.map(({ source, response }) => [source, response]).toSorted(),
      [[0x7a8, bytes("62 F1 86 01")], [0x7a9, bytes("62 F1 86 01")]],
    );
    const one = await passing(clock, functional.requestAll(bytes("22 02 00")));
    assert.deepEqual(one, [{ source: 0x7a9, response: bytes("62 02 00 07") }]);
    await passing(clock, functional.notify(bytes("10 83")));
    await clock.advance(10);
    assert.deepEqual(ecus.map(({ session }) => session), [3, 3]);
  }));

Deno.test("a session over CAN lasts while TesterPresent comes, and S3 longer", () =>
  withBus(async ({ clock, ecus: [ecu], client }) => {
    const uds = new UdsClient(client.transport(addresses[0]), { clock });
    await passing(clock, uds.diagnosticSessionControl(3));
    for (let second = 0; second < 30; second++) await clock.advance(1_000);
    assert.equal(ecu.session, 3);
    uds.close();
    await clock.advance(4_900);
    assert.equal(ecu.session, 3);
    await clock.advance(2_200);
    assert.equal(ecu.session, 1);
  }));

Deno.test("TesterPresent over CAN asks for no answer", () =>
  withBus(async ({ clock, ecus: [ecu], client }) => {
    const heard: string[] = [];
    const uds = new UdsClient(client.transport(addresses[0]), { clock });
    await passing(clock, uds.diagnosticSessionControl(3));
    const handle = ecu.handle.bind(ecu);
    ecu.handle = (request, context, respond) =>
      handle(request, context, (response) => {
        heard.push(response.toHex());
        respond(response);
      });
    await clock.advance(9_000);
    assert.deepEqual(heard, []);
    assert.equal(ecu.session, 3);
    uds.close();
  }));

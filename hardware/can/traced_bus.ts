// A CAN bus that shows its frames to a trace: those that are sent, when they are handed over, and those that are heard.
// Frames that are handed over together are shown together, so that a trace does not slow what is sent.

import type { CanTap } from "../trace/tap.ts";
import type { CanBus, ReceivedFrame, SendOptions } from "./bus.ts";
import type { CanFrame } from "./frame.ts";

/** The bus with a tap. Frames are recorded from the first moment on, whether somebody listens or not. */
export function traced(bus: CanBus, tap: CanTap): CanBus {
  const stop = bus.listen(({ frame }) => tap.frame("received", frame));
  bus.closed.then(stop);
  const sendAll = bus.sendAll?.bind(bus);
  return {
    name: bus.name,
    fd: bus.fd,
    closed: bus.closed,
    async send(frame: CanFrame, options?: SendOptions): Promise<void> {
      // Before the bus takes it: an answer to it must not be shown first.
      tap.frame("sent", frame);
      await bus.send(frame, options);
    },
    ...sendAll === undefined ? {} : {
      async sendAll(frames: readonly CanFrame[], options?: SendOptions): Promise<void> {
        for (const frame of frames) tap.frame("sent", frame);
        await sendAll(frames, options);
      },
    },
    listen: (receive: (received: ReceivedFrame) => void) => bus.listen(receive),
    close: () => bus.close(),
  };
}

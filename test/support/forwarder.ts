// A TCP forwarder as a load balancer would be: each connection goes to the first of its targets that takes it.

export interface Target {
  hostname: string;
  port: number;
}

export interface Forwarder extends AsyncDisposable {
  readonly port: number;
}

/** Sees bytes that go by. @param direction of one connection, the same object for all of its bytes */
export type Eavesdropper = (direction: object, bytes: Uint8Array) => void;

/** Starts one. @param hostname loopback address to listen on */
export function startForwarder(
  hostname: string,
  targets: readonly Target[],
  eavesdropper: Eavesdropper = () => {},
): Forwarder {
  const listener = Deno.listen({ hostname, port: 0 });
  const open = new Set<Deno.Conn>();
  const close = (conn: Deno.Conn) => {
    if (open.delete(conn)) conn.close();
  };
  const carry = async (incoming: Deno.Conn) => {
    open.add(incoming);
    const outgoing = await firstOf(targets);
    if (outgoing === undefined) return close(incoming);
    open.add(outgoing);
    const pipe = (from: Deno.Conn, to: Deno.Conn) => {
      const tap = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(bytes, controller) {
          eavesdropper(from, bytes);
          controller.enqueue(bytes);
        },
      });
      // One end that breaks ends both.
      return from.readable.pipeThrough(tap).pipeTo(to.writable).catch(() => {});
    };
    await Promise.race([pipe(incoming, outgoing), pipe(outgoing, incoming)]);
    for (const conn of [incoming, outgoing]) {
      open.delete(conn);
      try {
        conn.close();
      } catch (error) {
        // The pipe closes what it has read or written to its end.
        if (!(error instanceof Deno.errors.BadResource)) throw error;
      }
    }
  };
  const accepting = (async () => {
    for await (const conn of listener) void carry(conn);
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const conn of open) {
        try {
          conn.close();
        } catch (error) {
          if (!(error instanceof Deno.errors.BadResource)) throw error;
        }
      }
    },
  };
}

async function firstOf(targets: readonly Target[]): Promise<Deno.Conn | undefined> {
  for (const target of targets) {
    try {
      return await Deno.connect(target);
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    }
  }
  return undefined;
}

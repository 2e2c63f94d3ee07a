// A TCP proxy that does to whole connections what a radio network does: cuts them, delays what they carry, and lets the bytes
// of an old connection arrive after a new one was made.

/** What a connection meets. */
export type Fate = "cut" | "half_cut" | "delay" | "overtaken";

interface Pair {
  client: Deno.TcpConn;
  server: Deno.TcpConn;
  /** What comes from the client is held until this resolves. */
  held: PromiseWithResolvers<void> | undefined;
  timers: Set<ReturnType<typeof setTimeout>>;
}

/** A running proxy. */
export class ChaosProxy implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #target: { hostname: string; port: number };
  readonly #pairs = new Set<Pair>();
  readonly #work = new Set<Promise<void>>();

  constructor(hostname: string, target: { hostname: string; port: number }) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#begin(this.#accept());
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Connections that are open. */
  get count(): number {
    return this.#pairs.size;
  }

  /**
   * Lets each connection meet its fate. `cut`: both ends, at once. `half_cut`: the vehicle's end, and the server hears of it
   * later. `delay`: what the vehicle sends is held for a while. `overtaken`: the vehicle's end is cut; what it sent, and is
   * held here, reaches the server when a later connection may have been made.
   */
  strike(choose: () => Fate | undefined, time: () => number): void {
    for (const pair of [...this.#pairs]) {
      const fate = choose();
      if (fate === undefined) continue;
      if (fate === "cut") {
        this.#close(pair);
        continue;
      }
      pair.held ??= Promise.withResolvers<void>();
      const { held } = pair;
      if (fate === "half_cut") {
        close(pair.client);
        this.#later(pair, time(), () => this.#close(pair));
        continue;
      }
      if (fate === "overtaken") this.#later(pair, time() / 4, () => close(pair.client));
      this.#later(pair, time(), () => {
        if (pair.held === held) pair.held = undefined;
        held.resolve();
      });
    }
  }

  /** All connections are as they should be from now on: those that were struck are cut. */
  heal(): void {
    for (const pair of [...this.#pairs]) if (pair.held !== undefined) this.#close(pair);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const pair of [...this.#pairs]) this.#close(pair);
    await Promise.all(this.#work);
  }

  #begin(work: Promise<void>): void {
    const done = work.finally(() => this.#work.delete(done));
    this.#work.add(done);
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) this.#begin(this.#join(client));
    } catch (error) {
      // The listener was closed.
      if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) {
        throw error;
      }
    }
  }

  async #join(client: Deno.TcpConn): Promise<void> {
    let server: Deno.TcpConn;
    try {
      server = await Deno.connect(this.#target);
    } catch {
      // The server is away: as if nobody had listened here.
      close(client);
      return;
    }
    const pair: Pair = { client, server, held: undefined, timers: new Set() };
    this.#pairs.add(pair);
    const up = this.#carry(client, server, () => pair.held?.promise, true);
    const down = this.#carry(server, client, () => undefined, false);
    await Promise.all([up.then(() => pair.held?.promise).then(() => this.#close(pair)), down]);
    this.#close(pair);
  }

  /** Carries bytes until either end is gone. What was read goes on also when its sender is gone. */
  async #carry(
    from: Deno.TcpConn,
    to: Deno.TcpConn,
    held: () => Promise<void> | undefined,
    up: boolean,
  ): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        await held();
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    } catch {
      // One of the ends was cut: that is what this is for.
    }
    if (!up) close(to);
  }

  #later(pair: Pair, ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      pair.timers.delete(timer);
      run();
    }, ms);
    pair.timers.add(timer);
  }

  #close(pair: Pair): void {
    for (const timer of pair.timers) clearTimeout(timer);
    pair.timers.clear();
    pair.held?.resolve();
    this.#pairs.delete(pair);
    close(pair.client);
    close(pair.server);
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    // It was closed before.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

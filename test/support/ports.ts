// Ports for programs that are told theirs. Each test file has a block of its own, so that files that run at once never get the same,
// outside the range that the system gives out by itself: a port of that can be another's before the program listens.

const firstPort = 20_000;
const blockSize = 32;
const blocks = 380;

let block: { first: number; next: number } | undefined;

/** A port that is free on a loopback address and that nobody else is given. */
export function freePort(hostname = "127.0.0.1"): number {
  block ??= { first: ownBlock(), next: 0 };
  for (let tries = 1; tries < blockSize; tries++) {
    const port = block.first + 1 + block.next++ % (blockSize - 1);
    const listener = listen(hostname, port);
    if (listener === null) continue;
    listener.close();
    return port;
  }
  throw new Error(`no port of ${block.first + 1} to ${block.first + blockSize - 1} is free on ${hostname}`);
}

/** Who listens on a block's first port has the block, until its file ends. */
function ownBlock(): number {
  // From anywhere: files that begin at once rarely try the same.
  const start = Math.floor(Math.random() * blocks);
  for (let tried = 0; tried < blocks; tried++) {
    const first = firstPort + (start + tried) % blocks * blockSize;
    const listener = listen("127.0.0.1", first);
    if (listener === null) continue;
    // The file's end does not wait for it.
    listener.unref();
    return first;
  }
  throw new Error(`no block of ports from ${firstPort} on is free`);
}

function listen(hostname: string, port: number): Deno.TcpListener | null {
  try {
    return Deno.listen({ hostname, port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return null;
    throw error;
  }
}

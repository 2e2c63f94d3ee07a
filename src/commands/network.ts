// The addresses of an IPv4 network, in their order.

/** Gives the n-th host address of an IPv4 network such as 127.0.10.0/24, n from 1 on; it throws a RangeError beyond the last. */
export function addressesOf(network: string): (n: number) => string {
  const [base, length] = network.split("/");
  const hostBits = 32 - Number(length);
  const size = 2 ** hostBits;
  const number = base.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const first = Math.floor(number / size) * size;
  return (n) => {
    if (n > size - 2) {
      throw new RangeError(`bench.network ${network} has no ${n}th address for a gateway or an adapter`);
    }
    const address = first + n;
    return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
  };
}

// Says where a listener could not be opened: the runtime's own message names no address.

/**
 * The same kind of error with the place in its message; any other error as it is.
 * @param place e.g. `ZG_BODY at 127.0.10.3:13400`
 */
export function withPlace(cause: unknown, place: string): unknown {
  if (cause instanceof Deno.errors.AddrInUse) {
    return new Deno.errors.AddrInUse(`${place}: the address is in use`, { cause });
  }
  if (cause instanceof Deno.errors.AddrNotAvailable) {
    return new Deno.errors.AddrNotAvailable(`${place}: is no address of this machine`, { cause });
  }
  return cause;
}

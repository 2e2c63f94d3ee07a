// What can keep the server from starting.

/** A listener could not be opened: the address is in use, is not this machine's, or needs other rights. */
export class ListenFailed extends Error {
  override readonly name = "ListenFailed";
}

// Where a bus shows what crosses it. The stacks know these small interfaces alone; who records, and how, is not theirs.
// A tap never waits and never throws, and it keeps no bytes: whoever taps may reuse them as soon as the call returns.

/** One end of a connection or of a datagram. */
export interface NetworkEnd {
  /** Numeric address, IPv4 or IPv6. */
  readonly hostname: string;
  readonly port: number;
}

/** A network interface of the trace: what passes between us and one gateway. */
export interface NetworkTap {
  /**
   * A TCP connection that is up.
   *
   * @param openedBy which end sent the SYN
   */
  connection(local: NetworkEnd, remote: NetworkEnd, openedBy: "us" | "peer"): ConnectionTap;
  /** A UDP datagram. */
  datagram(direction: TapDirection, local: NetworkEnd, remote: NetworkEnd, bytes: Uint8Array): void;
}

/** Which way something went, seen from this program. */
export type TapDirection = "sent" | "received";

/** One TCP connection. */
export interface ConnectionTap {
  sent(bytes: Uint8Array): void;
  received(bytes: Uint8Array): void;
  /** Lines of an NSS key log, ASCII, for what was and will be encrypted here: they come before the bytes that need them. */
  secrets(keyLog: Uint8Array): void;
  /** Both directions have ended. */
  closed(): void;
}

/** A CAN frame as a trace needs it. */
export interface TappedFrame {
  readonly id: number;
  /** 29-bit identifier. */
  readonly extended: boolean;
  readonly data: Uint8Array;
  readonly remote?: boolean;
  /** Bytes that a remote frame asks for. */
  readonly remoteLength?: number;
  readonly fd?: boolean;
  readonly bitRateSwitch?: boolean;
}

/** A CAN interface of the trace: one adapter. */
export interface CanTap {
  frame(direction: TapDirection, frame: TappedFrame): void;
}

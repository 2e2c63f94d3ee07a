// What the link did since the gateway started: for the log, the heartbeat and `zonebench link status`.

/** What the link did so far. */
export interface LinkStatistics {
  connected: boolean;
  /** Connections that came about. */
  totalConnections: number;
  /** Tries that failed. */
  failedConnections: number;
  /** Connections that came about after one was lost. */
  reconnections: number;
  messagesSent: number;
  messagesReceived: number;
  /** Messages given up for lack of room. */
  messagesDropped: number;
  lastConnectionTime: string | null;
  /** Address that this side has on the connection. */
  localAddress: string | null;
  /** Changes of address that ended a connection. */
  addressChanges: number;
  /** Milliseconds without a connection since the start, the present ones among them. */
  offlineTime: number;
  /** Messages that wait. */
  queued: number;
}

/** The statistics in words, for the log. */
export function describeStatistics(statistics: LinkStatistics): string {
  const { totalConnections, failedConnections, reconnections, addressChanges, offlineTime } = statistics;
  const { messagesSent, messagesReceived, messagesDropped, queued } = statistics;
  return `${totalConnections} connections, ${failedConnections} tries failed, ${reconnections} again, ` +
    `${addressChanges} changes of address, ${(offlineTime / 1000).toFixed(1)} s offline, ` +
    `${messagesSent} messages sent, ${messagesReceived} received, ${messagesDropped} given up, ${queued} wait`;
}

// The part of qlobber's subscription trie that is used here; the package brings no types for it.
import type { Subscription } from "aedes";

type ClientSubscription = Subscription & { clientId: string };

export default class QlobberSub {
  constructor(options: { wildcard_one: string; wildcard_some: string; separator: string });
  readonly subscriptionsCount: number;
  add(filter: string, subscription: ClientSubscription): this;
  remove(filter: string, subscription: { clientId: string; topic: string }): this;
  /** What was added under filters that match the topic. */
  match(topic: string): ClientSubscription[];
}

import type { Config } from "../config/config.ts";
import { desired, type Item, itemName } from "../desired/desired.ts";
import type { Report } from "../reconcile/reconcile.ts";

/** The kinds of items. */
export const KINDS: readonly Item["kind"][] = ["link", "address", "rule"];

/** What is known of one item. */
export interface Known {
  readonly kind: Item["kind"];
  /** As desired when a pass last looked; false too when none could. */
  readonly ok: boolean;
  /** Something else changes it again and again. */
  readonly damped: boolean;
}

/** What is last known of everything that is wanted, since a pass may look at some of it only. */
export class Inventory {
  readonly #known: Map<string, Known>;

  constructor(config: Config) {
    const { link, addresses, rules } = desired(config, "present");
    this.#known = new Map(
      [link, ...addresses, ...rules].map((item) => [keyOf(item), { kind: item.kind, ok: false, damped: false }]),
    );
  }

  /** Learns from a pass. */
  update({ items }: Report): void {
    for (const { item, after, damped = false } of items) {
      this.#known.set(keyOf(item), { kind: item.kind, ok: after?.ok === true, damped });
    }
  }

  /** Everything that is wanted. */
  get items(): readonly Known[] {
    return [...this.#known.values()];
  }
}

function keyOf(item: Item): string {
  return `${item.kind} ${itemName(item)}`;
}

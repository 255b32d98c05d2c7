import { type Item, itemName } from "../desired/desired.ts";
import type { Observer } from "../reconcile/observer.ts";
import type { Report } from "../reconcile/pass.ts";

/** The kinds of items. */
export const KINDS: readonly Item["kind"][] = ["link", "address", "rule"];

/** What is last known of one item. */
interface ItemState {
  readonly kind: Item["kind"];
  /** As desired when a pass last looked; false too when none could. */
  readonly ok: boolean;
  /** Something else changes it again and again. */
  readonly damped: boolean;
}

/** What is last known of everything that is wanted, since a pass may look at some of it only. */
export class ItemStates implements Observer {
  readonly #states: Map<string, ItemState>;

  /** @param items Everything that is wanted. */
  constructor(items: readonly Item[]) {
    this.#states = new Map(items.map((item) => [keyOf(item), { kind: item.kind, ok: false, damped: false }]));
  }

  onPass({ items }: Report): void {
    for (const { item, after, damped = false } of items) {
      this.#states.set(keyOf(item), { kind: item.kind, ok: after?.ok === true, damped });
    }
  }

  /** How many items of a kind are wanted, and how many of them are as desired. */
  count(kind: Item["kind"]): { readonly wanted: number; readonly present: number } {
    const own = [...this.#states.values()].filter((state) => state.kind === kind);
    return { wanted: own.length, present: own.filter(({ ok }) => ok).length };
  }

  /** How many items get pauses. */
  get damped(): number {
    return [...this.#states.values()].filter(({ damped }) => damped).length;
  }

  /** Whether everything is as desired. */
  get ok(): boolean {
    return [...this.#states.values()].every(({ ok }) => ok);
  }
}

function keyOf(item: Item): string {
  return `${item.kind} ${itemName(item)}`;
}

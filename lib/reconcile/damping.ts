import { type Item, itemName } from "../desired/desired.ts";
import type { Report } from "./reconcile.ts";

/** So many repairs may follow each other without a pause. */
const FREE_REPAIRS = 5;
const FIRST_PAUSE_MS = 125;
const MAX_PAUSE_MS = 1000;
/** An item that was not lost for so long has peace. */
const PEACE_MS = 10_000;

/** What changed for an item. */
export interface DampingEvent {
  readonly item: Item;
  /** How often it was lost since the fight began. */
  readonly lost: number;
  /** Milliseconds since the fight began. */
  readonly since: number;
  /** The fight begins, or has ended. */
  readonly over: boolean;
}

interface Fight {
  readonly item: Item;
  readonly startedAt: number;
  readonly repairs: number;
  readonly lastAt: number;
  /** Nothing is put right until then. */
  readonly until: number;
}

/** Growing pauses for items that something else changes again and again, so that neither side burns the node. */
export class Damping {
  readonly #now: () => number;
  readonly #fights = new Map<string, Fight>();

  /** @param now Milliseconds, by a clock that is never set. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether the item has its pause now. */
  readonly holds = (item: Item): boolean => this.#now() < (this.#fights.get(keyOf(item))?.until ?? 0);

  /** Whether the item gets pauses. */
  readonly damps = (item: Item): boolean => isDamped(this.#fights.get(keyOf(item)));

  /** How many items get pauses. */
  get damped(): number {
    return [...this.#fights.values()].filter(isDamped).length;
  }

  /**
   * Milliseconds until something has to be looked at again for the sake of a pause; undefined if nothing has.
   *
   * @param concerns Which items are asked about.
   */
  again(concerns: (item: Item) => boolean = () => true): number | undefined {
    const now = this.#now();
    const times = [...this.#fights.values()].filter((fight) => isDamped(fight) && concerns(fight.item))
      .flatMap(({ until, lastAt }) => [until, lastAt + PEACE_MS].filter((at) => at > now).slice(0, 1));
    return times.length === 0 ? undefined : Math.min(...times) - now;
  }

  /** Learns from a pass which items were lost again. */
  learn({ items }: Report): readonly DampingEvent[] {
    const now = this.#now();
    const events: DampingEvent[] = [];
    for (const { item, before, after, error } of items) {
      const key = keyOf(item);
      const fight = this.#fights.get(key);
      // One that is gone again before the second look, without an error, was put right too.
      const isLostAgain = after?.ok === false && !after.pending && error === undefined && !this.holds(item) &&
        (before?.repairs.length ?? 0) > 0;
      const isRepaired = before?.ok === false && (after?.ok || isLostAgain);
      if (isRepaired) {
        const goesOn = fight !== undefined && now - fight.lastAt < PEACE_MS;
        const repairs = goesOn ? fight.repairs + 1 : 1;
        const excess = repairs - FREE_REPAIRS;
        const pause = excess < 0 ? 0 : Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(excess, 10));
        const next = { item, startedAt: goesOn ? fight.startedAt : now, repairs, lastAt: now, until: now + pause };
        this.#fights.set(key, next);
        if (repairs === FREE_REPAIRS) events.push({ item, lost: repairs, since: now - next.startedAt, over: false });
      } else if (fight !== undefined && after?.ok && now - fight.lastAt >= PEACE_MS) {
        this.#fights.delete(key);
        if (isDamped(fight)) {
          events.push({ item, lost: fight.repairs, since: fight.lastAt - fight.startedAt, over: true });
        }
      }
    }
    return events;
  }
}

function isDamped(fight: Fight | undefined): boolean {
  return fight !== undefined && fight.repairs >= FREE_REPAIRS;
}

function keyOf(item: Item): string {
  return `${item.kind} ${itemName(item)}`;
}

import { type Item, itemName } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { repeatText } from "../log/repeat.ts";
import type { Cause } from "./observer.ts";
import type { ItemReport, Report } from "./pass.ts";

const log = getLog("damping");

/** So many repairs may follow each other without a pause. */
const FREE_REPAIRS = 5;
const FIRST_PAUSE_MS = 125;
const MAX_PAUSE_MS = 1000;
/** An item that was not lost for so long has peace. */
const PEACE_MS = 10_000;
/** Losses in so short a time are one: `ip address flush` deletes in rounds, and meets what was just put back. */
const BURST_MS = 200;

interface Fight {
  readonly startedAt: number;
  /** Those of a burst count once. */
  readonly repairs: number;
  /** When one was last counted, and when there last was one. */
  readonly countedAt: number;
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
  readonly holds = (item: Item): boolean => this.#now() < (this.#fights.get(itemName(item))?.until ?? 0);

  /** Learns from a pass which items were lost again, tells of fights that begin or end, and marks in the report who has one. */
  learn(report: Report, cause: Cause): Report {
    // What is added at the start was not lost.
    if (cause !== "start") report.items.forEach((it) => this.#learn(it));
    const items = report.items.map((it) => ({ ...it, damped: isDamped(this.#fights.get(itemName(it.item))) }));
    return { ...report, items, again: this.#again(items) };
  }

  #learn({ item, before, after, error }: ItemReport): void {
    const now = this.#now();
    const key = itemName(item);
    const fight = this.#fights.get(key);
    // One that is gone again before the second look, without an error, was put right too.
    const isLostAgain = after?.ok === false && !after.pending && error === undefined && !this.holds(item) &&
      (before?.repairs.length ?? 0) > 0;
    if (before?.ok === false && (after?.ok || isLostAgain)) {
      const next = goOn(fight, now);
      this.#fights.set(key, next);
      if (next.repairs === FREE_REPAIRS && fight?.repairs !== FREE_REPAIRS) {
        log.warning("Something else keeps removing it: repairs get pauses of up to a second", {
          [item.kind]: key,
          lost: repeatText({ times: next.repairs, since: now - next.startedAt }),
        });
      }
    } else if (fight !== undefined && after?.ok && now - fight.lastAt >= PEACE_MS) {
      this.#fights.delete(key);
      if (!isDamped(fight)) return;
      const lost = repeatText({ times: fight.repairs, since: fight.lastAt - fight.startedAt });
      log.info("Nothing removes it any more", { [item.kind]: key, lost });
    }
  }

  /** Milliseconds until something has to be looked at again for the sake of a pause; undefined if nothing has. */
  #again(items: readonly ItemReport[]): number | undefined {
    const now = this.#now();
    // A pause that ended during the pass kept it from a repair all the same, and no event comes for that.
    const waiting = new Set(items.filter(isWaiting).map(({ item }) => itemName(item)));
    const times = [...this.#fights].filter(([, fight]) => isDamped(fight)).flatMap(([key, { until, lastAt }]) =>
      waiting.has(key) ? Math.max(until, now) : [until, lastAt + PEACE_MS].filter((at) => at > now).slice(0, 1)
    );
    return times.length === 0 ? undefined : Math.min(...times) - now;
  }
}

/** What a fight comes to with one more repair. */
function goOn(fight: Fight | undefined, now: number): Fight {
  if (fight === undefined || now - fight.lastAt >= PEACE_MS) {
    return { startedAt: now, repairs: 1, countedAt: now, lastAt: now, until: now };
  }
  if (now - fight.countedAt < BURST_MS) return { ...fight, lastAt: now };
  const repairs = fight.repairs + 1;
  const excess = repairs - FREE_REPAIRS;
  const pause = excess < 0 ? 0 : Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(excess, 10));
  return { ...fight, repairs, countedAt: now, lastAt: now, until: now + pause };
}

/** Whether nothing but a pause is in the way of what would put it right. */
function isWaiting({ after, error }: ItemReport): boolean {
  return after?.ok === false && !after.pending && after.repairs.length > 0 && error === undefined;
}

function isDamped(fight: Fight | undefined): boolean {
  return fight !== undefined && fight.repairs >= FREE_REPAIRS;
}

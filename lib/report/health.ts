import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { formatDuration } from "../config/duration.ts";
import { type ItemStates, KINDS } from "./item_states.ts";
import type { About, Observer, PassInfo } from "../reconcile/observer.ts";
import type { Report } from "../reconcile/pass.ts";

/** So many intervals may go by without a pass. */
const PATIENCE_INTERVALS = 3;

/** One thing that was looked at. */
export interface Check {
  readonly ok: boolean;
  /** What it is about, and how it stands. */
  readonly said: string;
}

/** Whether the daemon is alive, and whether it keeps what it is there to keep. */
export class Health implements Observer {
  readonly #now: Clock["now"];
  readonly #states: ItemStates;
  /** Milliseconds. */
  readonly #patience: number;
  /** When the last pass over addresses, and over rules, ended; before the first, when the program started. */
  readonly #passes: Map<About, { readonly at: number; readonly isAwaited: boolean }>;
  #stopping = false;

  /**
   * @param states Told of each pass.
   * @param clock Its `now` counts; a clock that is set would make the daemon look dead.
   */
  constructor(config: Config, states: ItemStates, clock: Pick<Clock, "now">) {
    this.#now = clock.now;
    this.#states = states;
    this.#patience = PATIENCE_INTERVALS * config.syncInterval + config.commandTimeout;
    const kept: readonly About[] = config.setupIptables ? ["addresses", "rules"] : ["addresses"];
    this.#passes = new Map(kept.map((about) => [about, { at: clock.now(), isAwaited: true }]));
  }

  onPass(_report: Report, { about }: Pick<PassInfo, "about">): void {
    this.#passes.set(about, { at: this.#now(), isAwaited: false });
  }

  onStop(): void {
    this.#stopping = true;
  }

  /** Whether passes end, well or badly. */
  get live(): readonly Check[] {
    const limit = formatDuration(Math.round(this.#patience));
    return [...this.#passes].map(([about, { at, isAwaited }]) => {
      const since = this.#now() - at;
      const what = isAwaited ? "since the start, without a pass" : "since a pass ended";
      return {
        ok: since <= this.#patience,
        said: `${about}: ${formatDuration(Math.round(since))} ${what}, at most ${limit} are allowed`,
      };
    });
  }

  /** Whether a proxy can work on what is there. */
  get ready(): readonly Check[] {
    const isObserved = [...this.#passes.values()].every(({ isAwaited }) => !isAwaited);
    return [
      { ok: !this.#stopping, said: this.#stopping ? "stop: asked for" : "stop: not asked for" },
      { ok: isObserved, said: isObserved ? "look: done" : "look: not done yet" },
      ...KINDS.map((kind) => ({ kind, ...this.#states.count(kind) }))
        .filter(({ wanted }) => wanted > 0)
        .map(({ kind, wanted, present }) => ({
          ok: present === wanted,
          said: `${kind}: ${present} of ${wanted} present`,
        })),
    ];
  }
}

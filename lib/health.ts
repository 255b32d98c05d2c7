import type { Clock } from "./clock.ts";
import type { Config } from "./config.ts";
import { formatDuration } from "./duration.ts";
import { Inventory, KINDS } from "./inventory.ts";
import type { Observer } from "./observer.ts";
import type { Report } from "./reconcile.ts";

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
  readonly #inventory: Inventory;
  /** Milliseconds. */
  readonly #patience: number;
  /** When the last pass ended; the start of the program stands for one. */
  #passedAt: number;
  #observed = false;
  #stopping = false;

  /** @param clock Its `now` counts; a clock that is set would make the daemon look dead. */
  constructor(config: Config, clock: Pick<Clock, "now">) {
    this.#now = clock.now;
    this.#inventory = new Inventory(config);
    this.#patience = PATIENCE_INTERVALS * config.syncInterval + config.commandTimeout;
    this.#passedAt = clock.now();
  }

  onPass(report: Report): void {
    this.#passedAt = this.#now();
    this.#observed = true;
    this.#inventory.update(report);
  }

  onStop(): void {
    this.#stopping = true;
  }

  /** Whether passes end, well or badly. */
  get live(): readonly Check[] {
    const since = this.#now() - this.#passedAt;
    const what = this.#observed ? "since a pass ended" : "since the start, without a pass";
    const limit = formatDuration(Math.round(this.#patience));
    return [{
      ok: since <= this.#patience,
      said: `loop: ${formatDuration(Math.round(since))} ${what}, at most ${limit} are allowed`,
    }];
  }

  /** Whether a proxy can work on what is there. */
  get ready(): readonly Check[] {
    const items = this.#inventory.items;
    return [
      { ok: !this.#stopping, said: this.#stopping ? "stop: asked for" : "stop: not asked for" },
      { ok: this.#observed, said: this.#observed ? "look: done" : "look: not done yet" },
      ...KINDS.flatMap((kind) => {
        const own = items.filter((item) => item.kind === kind);
        const present = own.filter(({ ok }) => ok).length;
        return own.length === 0 ? [] : [
          { ok: present === own.length, said: `${kind}: ${present} of ${own.length} present` },
        ];
      }),
    ];
  }
}

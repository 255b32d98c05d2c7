import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { formatDuration } from "../config/duration.ts";
import { Inventory, KINDS } from "./item_states.ts";
import type { Scope } from "../daemon/loop.ts";
import type { Observer } from "./observer.ts";
import type { Report } from "../reconcile/reconcile.ts";

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
  /** When the last pass over addresses, and over rules, ended; the start of the program stands for one. */
  readonly #passedAt: Map<Scope, number>;
  /** What was not looked at yet. */
  readonly #unobserved: Set<Scope>;
  #stopping = false;

  /** @param clock Its `now` counts; a clock that is set would make the daemon look dead. */
  constructor(config: Config, clock: Pick<Clock, "now">) {
    this.#now = clock.now;
    this.#inventory = new Inventory(config);
    this.#patience = PATIENCE_INTERVALS * config.syncInterval + config.commandTimeout;
    const scopes: readonly Scope[] = config.setupIptables ? ["addresses", "rules"] : ["addresses"];
    this.#passedAt = new Map(scopes.map((scope) => [scope, clock.now()]));
    this.#unobserved = new Set(scopes);
  }

  onPass(report: Report, { scope }: { readonly scope: Scope }): void {
    for (const own of this.#passedAt.keys()) {
      if (scope !== "all" && scope !== own) continue;
      this.#passedAt.set(own, this.#now());
      this.#unobserved.delete(own);
    }
    this.#inventory.update(report);
  }

  onStop(): void {
    this.#stopping = true;
  }

  /** Whether passes end, well or badly. */
  get live(): readonly Check[] {
    const limit = formatDuration(Math.round(this.#patience));
    return [...this.#passedAt].map(([scope, passedAt]) => {
      const since = this.#now() - passedAt;
      const what = this.#unobserved.has(scope) ? "since the start, without a pass" : "since a pass ended";
      return {
        ok: since <= this.#patience,
        said: `${scope}: ${formatDuration(Math.round(since))} ${what}, at most ${limit} are allowed`,
      };
    });
  }

  /** Whether a proxy can work on what is there. */
  get ready(): readonly Check[] {
    const items = this.#inventory.items;
    const isObserved = this.#unobserved.size === 0;
    return [
      { ok: !this.#stopping, said: this.#stopping ? "stop: asked for" : "stop: not asked for" },
      { ok: isObserved, said: isObserved ? "look: done" : "look: not done yet" },
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

/**
 * Which of several monitors that tell of the same runs, and when.
 *
 * @module
 */
import { backoff } from "../clock.ts";
import type { CommandError } from "../node/command_error.ts";
import type { LineKind, Monitor } from "../node/monitor.ts";

/** A monitor that listened for so long was well … */
const WELL_MS = 60_000;
/** … and one that ends at events that it lost, or cannot read, as xtables-monitor does, if it listened for so long. */
const WELL_HEARING_MS = 1000;
/** Pauses before a monitor that listened is started again, in milliseconds. */
const RESTART = { first: 100, max: 30_000 } as const;
/** Pauses before one is that never did: its start may have read the whole ruleset of the node. */
const RETRY = { first: 60_000, max: 3_600_000 } as const;

/** How a life of a monitor ended. */
export interface End {
  readonly error: CommandError | undefined;
  /** How long it listened, in milliseconds; undefined if it never did. */
  readonly listenedMs: number | undefined;
  /** What it said last. */
  readonly last: LineKind;
}

/** A monitor, and when it may be started. */
export interface Candidate {
  readonly monitor: Monitor;
  /** Lives in a row that were short. */
  readonly failures: number;
  /** Milliseconds, by the clock. */
  readonly at: number;
}

/** Whether a monitor ended at an event that it told of: nothing is wrong with it. */
export function hasHeard({ last }: End): boolean {
  return last === "lost" || last === "unreadable";
}

/** Whether a monitor is not installed. */
export function isMissing({ error }: End): boolean {
  return error?.kind === "missing-program";
}

/** Monitors that tell of the same, the best first; each next one stands in while those before it have a pause. */
export class Candidates {
  #all: readonly Candidate[];
  readonly #now: () => number;

  /** @param now Milliseconds, by a clock that is never set. */
  constructor(monitors: readonly Monitor[], now: () => number) {
    this.#all = monitors.map((monitor) => ({ monitor, failures: 0, at: -Infinity }));
    this.#now = now;
  }

  get first(): Candidate | undefined {
    return this.#all[0];
  }

  /** Gives a monitor that ended its pause, unless it is not installed, and chooses the next one; undefined if there is none. */
  after(ended: Candidate, end: End): Candidate | undefined {
    const { listenedMs } = end;
    const isWell = listenedMs !== undefined && listenedMs > (hasHeard(end) ? WELL_HEARING_MS : WELL_MS);
    const failures = isWell ? 1 : ended.failures + 1;
    const pauses = hasHeard(end) || listenedMs !== undefined ? RESTART : RETRY;
    const same = { monitor: ended.monitor, failures, at: this.#now() + backoff(failures, pauses) };
    this.#all = this.#all.flatMap((it) => it !== ended ? it : isMissing(end) ? [] : same);
    // One that lost events is as good as any.
    return end.last === "lost" ? same : this.#all.toSorted((a, b) => a.at - b.at)[0];
  }
}

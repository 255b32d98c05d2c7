/** How often something happened, and for how long. */
export interface Repeat {
  /** 1: it happened for the first time. */
  readonly times: number;
  /** Milliseconds since the first time. */
  readonly since: number;
}

/** Milliseconds until the first reminder; each next one is twice as far away. */
const FIRST_REMINDER_MS = 60_000;
/** The longest time between two reminders. */
const MAX_REMINDER_MS = 3_600_000;

interface Trouble {
  readonly startedAt: number;
  readonly times: number;
  readonly nextAt: number;
  readonly spacing: number;
}

/**
 * Keeps the same trouble from being logged at each pass. It is said when it begins; then it is counted, and said again
 * after a minute, and then at distances that double, up to an hour; and it is said when it is over.
 *
 * @example
 * ```ts
 * import { Recurring } from "./repeat.ts";
 *
 * let now = 0;
 * const failures = new Recurring({ now: () => now });
 * failures.report("lock"); // { times: 1, since: 0 }
 * now = 10_000;
 * failures.report("lock"); // undefined: counted
 * now = 60_000;
 * failures.report("lock"); // { times: 3, since: 60000 }
 * failures.over("lock"); // { times: 3, since: 60000 }
 * ```
 */
export class Recurring {
  readonly #now: () => number;
  readonly #troubles = new Map<string, Trouble>();

  /** @param options `now` is a clock that only goes forward, in milliseconds. */
  constructor({ now }: { readonly now: () => number }) {
    this.#now = now;
  }

  /** Counts the trouble `key` once more; what to say of it, or undefined when nothing is to be said now. */
  report(key: string): Repeat | undefined {
    const now = this.#now();
    const before = this.#troubles.get(key);
    const { startedAt, times, nextAt, spacing } = before ??
      { startedAt: now, times: 0, nextAt: now, spacing: FIRST_REMINDER_MS };
    const isDue = now >= nextAt;
    this.#troubles.set(key, {
      startedAt,
      times: times + 1,
      nextAt: isDue ? now + spacing : nextAt,
      spacing: isDue ? Math.min(2 * spacing, MAX_REMINDER_MS) : spacing,
    });
    return isDue ? { times: times + 1, since: now - startedAt } : undefined;
  }

  /** Forgets the trouble `key`; what to say of its end, or undefined if there was none. */
  over(key: string): Repeat | undefined {
    const trouble = this.#troubles.get(key);
    this.#troubles.delete(key);
    return trouble && { times: trouble.times, since: this.#now() - trouble.startedAt };
  }
}

/** `37 times in 37m`. */
export function repeatText({ times, since }: Repeat): string {
  return `${times} ${times === 1 ? "time" : "times"} in ${spanText(since)}`;
}

/** `45s`, `37m`, `2h5m`: as exact as someone who reads a log wants it. */
function spanText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const rest = minutes % 60;
  return rest === 0 ? `${minutes / 60}h` : `${Math.floor(minutes / 60)}h${rest}m`;
}

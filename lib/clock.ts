import { delay } from "@std/async/delay";

/** The passing of time, replaced in tests. */
export interface Clock {
  /** Milliseconds since some moment, by a clock that is never set. */
  now(): number;
  /** Resolves after `ms` milliseconds, or when the signal aborts. Never rejects. */
  delay(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * A signal that aborts after `ms` milliseconds, or after 24.8 days, the longest time of a timer. It keeps nothing running
   * that nobody listens to.
   */
  timeout(ms: number): AbortSignal;
}

/** setTimeout() takes a longer time for 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The clock that really passes. */
export const monotonicClock: Clock = {
  now: () => performance.now(),
  async delay(ms, signal) {
    for (let left = ms; left > 0 && !signal?.aborted; left -= MAX_TIMER_MS) {
      await delay(Math.min(left, MAX_TIMER_MS), signal && { signal }).catch((error) => {
        if (!signal?.aborted) throw error;
      });
    }
  },
  // The first setTimeout() costs Deno 2.9 6 ms, and this does not.
  timeout: (ms) => AbortSignal.timeout(Math.min(Math.max(0, ms), MAX_TIMER_MS)),
};

/** The wait after the `attempt`-th failure in a row (from 1): doubling up to `max` milliseconds, less up to half at random. */
export function backoff(attempt: number, { first, max }: { readonly first: number; readonly max: number }): number {
  return Math.min(max, first * 2 ** Math.min(attempt - 1, 30)) * (0.5 + Math.random() / 2);
}

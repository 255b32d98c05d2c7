import { backoff, type Clock } from "../clock.ts";
import type { Cause } from "./observer.ts";
import type { Report } from "./pass.ts";

/** Options for {@linkcode settle}. */
export interface SettleOptions {
  readonly clock: Clock;
  /** When to give up, in milliseconds; a pass that runs then is ended. */
  readonly budget: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes passes until all is as desired, as long as what is in the way may pass by itself: the xtables lock, a busy kernel,
 * somebody who changed it back.
 *
 * @param pass Makes one, ended early by the signal.
 * @returns Whether all is as desired.
 */
export async function settle(
  pass: (cause: Cause, signal: AbortSignal) => Promise<Report>,
  { clock, budget, signal }: SettleOptions,
): Promise<boolean> {
  const deadline = clock.now() + budget;
  const ended = new AbortController();
  const end = () => ended.abort();
  signal?.addEventListener("abort", end);
  if (signal?.aborted) end();
  const over = clock.timeout(budget);
  const giveUp = () => ended.abort(`gave up after ${Math.round(budget)}ms`);
  over.addEventListener("abort", giveUp);
  try {
    for (let attempt = 1;; attempt++) {
      const report = await pass(attempt === 1 ? "start" : "retry", ended.signal);
      if (report.ok || ended.signal.aborted) return report.ok;
      const wait = backoff(attempt, { first: 100, max: 2000 });
      if (!mayPass(report) || clock.now() + wait >= deadline) return false;
      await clock.delay(wait, ended.signal);
    }
  } finally {
    signal?.removeEventListener("abort", end);
    over.removeEventListener("abort", giveUp);
  }
}

function mayPass({ items }: Report): boolean {
  return items.some(({ after, error }) =>
    after?.ok !== true &&
    (error === undefined ? after?.pending || (after?.repairs.length ?? 0) > 0 : error.transient)
  );
}

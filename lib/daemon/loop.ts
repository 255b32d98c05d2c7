/**
 * When to make a pass.
 *
 * @module
 */
import { backoff, type Clock, monotonicClock } from "../clock.ts";
import type { Cause } from "../reconcile/observer.ts";

/** A pass to make. */
export interface Request {
  readonly cause: Cause;
  /** When it was asked for, by the loop's clock. */
  readonly at: number;
}

/** What the loop is told of a pass. */
export interface Outcome {
  /** Nothing failed that is to be tried again soon. */
  readonly ok: boolean;
  /** Milliseconds until another pass is needed at the latest. */
  readonly again?: number | undefined;
  /** Milliseconds until the next look, as long as nobody tells of events. */
  readonly poll?: number | undefined;
}

/** Options for {@linkcode Loop}. */
export interface LoopOptions {
  /** Makes one pass, ended early by the signal. */
  readonly pass: (request: Request, signal: AbortSignal) => Promise<Outcome>;
  /** Longest time between two passes, in milliseconds. */
  readonly interval: number;
  /** @default {monotonicClock} */
  readonly clock?: Clock;
  /** Shortest time between passes that are asked for, on average, in milliseconds. @default {100} */
  readonly gap?: number;
  /** So many of them may follow each other at once. @default {4} */
  readonly burst?: number;
  /**
   * First and longest wait after passes that failed, in milliseconds; none is longer than the interval. What was in the way
   * may go without an event. @default {{ first: 1000, max: 10_000 }}
   */
  readonly retry?: { readonly first: number; readonly max: number };
}

/** Makes passes, one at a time: at the start, at each interval, sooner after a failure, and when asked to. */
export class Loop {
  readonly #options: Required<LoopOptions>;
  #pending: Request | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(options: LoopOptions) {
    this.#options = { clock: monotonicClock, gap: 100, burst: 4, retry: { first: 1000, max: 10_000 }, ...options };
  }

  /** Asks for a pass now. Requests that come while one is pending, or during a pass, make one, however many they are. */
  request(cause: Cause): void {
    this.#pending ??= { cause, at: this.#options.clock.now() };
    this.#wake.resolve();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { pass, interval, clock, gap, burst, retry } = this.#options;
    const onAbort = () => this.#wake.resolve();
    signal.addEventListener("abort", onAbort);
    let next: Request = { cause: "start", at: clock.now() };
    let [again, poll] = [Infinity, Infinity];
    let failures = 0;
    let quota = { left: burst, at: clock.now() };
    while (!signal.aborted) {
      await this.#sleep(this.#pending === undefined ? Math.min(next.at, again, poll) : -Infinity);
      quota = { left: Math.min(burst, quota.left + (clock.now() - quota.at) / gap), at: clock.now() };
      if (quota.left < 1) await clock.delay((1 - quota.left) * gap, signal);
      if (signal.aborted) break;
      quota = { ...quota, left: quota.left - 1 };

      const started = clock.now();
      // What is due goes before what is asked for: it looks at more.
      const due = started >= next.at ? next : undefined;
      const request = due ?? this.#pending ?? asked(started, { retry: again, poll });
      this.#pending = undefined;
      this.#wake = Promise.withResolvers();
      if (request === undefined) continue;
      const outcome = await pass(request, signal);
      if (outcome.ok) {
        failures = 0;
        // An event does not put off what is checked at each interval.
        if (!isHint(request.cause) || next.cause === "retry") {
          next = { cause: "interval", at: started + interval };
        }
      } else {
        // Nor do many events make the pauses longer.
        if (!isHint(request.cause) || failures === 0) failures += 1;
        const at = clock.now() + Math.min(interval, backoff(failures, retry));
        next = { cause: "retry", at: next.cause === "retry" && due === undefined ? Math.min(at, next.at) : at };
      }
      [again, poll] = [outcome.again, outcome.poll].map((wait) => clock.now() + (wait ?? Infinity)) as [number, number];
    }
    signal.removeEventListener("abort", onAbort);
  }

  /** Sleeps until a time of the clock, or a request. */
  async #sleep(until: number): Promise<void> {
    const { clock } = this.#options;
    const wait = until - clock.now();
    if (wait <= 0) return;
    const over = new AbortController();
    await Promise.race([this.#wake.promise, clock.delay(wait, over.signal)]);
    over.abort();
  }
}

/** Whether a pass looks only since something may have changed. */
function isHint(cause: Cause): boolean {
  return cause === "event" || cause === "poll";
}

/** The pass that the last one wanted, if it is time. */
function asked(now: number, times: Readonly<Record<"retry" | "poll", number>>): Request | undefined {
  const cause = (["retry", "poll"] as const).find((cause) => now >= times[cause]);
  return cause && { cause, at: times[cause] };
}

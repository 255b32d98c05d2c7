import type { Clock } from "../../lib/clock.ts";

interface Timer {
  readonly at: number;
  fire(): void;
  /** Nobody waits for it. */
  readonly isWeak: boolean;
}

/** Test equipment: a clock that stands still until a test moves it, and never makes a test wait. */
export class FakeClock implements Clock {
  /** Every delay that was asked for, in milliseconds and in order. */
  readonly delays: number[] = [];
  #now = 0;
  #timers: Timer[] = [];

  readonly now = (): number => this.#now;

  delay(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0 || signal?.aborted) return Promise.resolve();
    this.delays.push(ms);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = { at: this.#now + ms, fire: resolve, isWeak: false };
    const cancel = () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
      resolve();
    };
    this.#timers.push(timer);
    signal?.addEventListener("abort", cancel, { once: true });
    return promise.finally(() => signal?.removeEventListener("abort", cancel));
  }

  timeout(ms: number): AbortSignal {
    const over = new AbortController();
    this.#timers.push({ at: this.#now + ms, fire: () => over.abort(), isWeak: true });
    return over.signal;
  }

  /** How many delays are not over. */
  get waiting(): number {
    return this.#timers.filter(({ isWeak }) => !isWeak).length;
  }

  /** Lets `ms` milliseconds pass, and everything that happens in them. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (let next = this.#next(); next !== undefined && next.at <= end; next = this.#next()) await this.#fire(next);
    this.#now = end;
    await settled();
  }

  /** Lets as much time pass as `work` needs. @throws {Error} if it waits for something other than time. */
  async until<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const end = () => void (over = true);
    work.then(end, end);
    for (await settled(); !over; await settled()) {
      const next = this.#next();
      if (next === undefined) throw new Error("Cannot finish: nothing waits for time to pass");
      await this.#fire(next);
    }
    return await work;
  }

  #next(): Timer | undefined {
    return this.#timers.toSorted((a, b) => a.at - b.at)[0];
  }

  #fire(timer: Timer): Promise<void> {
    this.#timers = this.#timers.filter((other) => other !== timer);
    this.#now = timer.at;
    timer.fire();
    return settled();
  }
}

/** Lets everything go on until it waits for a timer. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

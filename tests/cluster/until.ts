import { AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";

/** Options for {@linkcode until}. */
export interface UntilOptions {
  /** Milliseconds between two tries: each takes time from what is waited for. @default {20} */
  readonly every?: number;
  /** Milliseconds after which it fails as it did last. @default {60_000} */
  readonly patience?: number;
}

/** Tries an assertion until it holds. */
export async function until(assertion: () => void | Promise<void>, options: UntilOptions = {}): Promise<void> {
  const { every = 20, patience = 60_000 } = options;
  const deadline = performance.now() + patience;
  while (true) {
    try {
      return await assertion();
    } catch (error) {
      if (!(error instanceof AssertionError) || performance.now() > deadline) throw error;
    }
    await delay(every);
  }
}

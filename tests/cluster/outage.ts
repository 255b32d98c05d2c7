/**
 * Test equipment: from single tries to an outage, and from outages to figures.
 *
 * @module
 */

/** One try to connect. */
export interface Try {
  /** Milliseconds, by any clock. */
  readonly at: number;
  readonly ok: boolean;
}

/** What tries tell of an outage. */
export interface Outage {
  readonly tries: number;
  readonly failed: number;
  /** From the first try that failed to the first one after the last of them, in milliseconds; 0 if none failed. */
  readonly ms: number;
  /** Mean time between two tries, in milliseconds. */
  readonly every: number;
  /** The last try was answered. */
  readonly over: boolean;
}

/** The outage that some tries tell of, which have to be in the order of their time. */
export function outageOf(tries: readonly Try[]): Outage {
  const first = tries.findIndex(({ ok }) => !ok);
  const last = tries.findLastIndex(({ ok }) => !ok);
  const end = tries[Math.min(last + 1, tries.length - 1)];
  return {
    tries: tries.length,
    failed: tries.filter(({ ok }) => !ok).length,
    ms: first < 0 ? 0 : end!.at - tries[first]!.at,
    every: tries.length < 2 ? NaN : (tries.at(-1)!.at - tries[0]!.at) / (tries.length - 1),
    over: last < tries.length - 1,
  };
}

/** The value below which a share of the values lies, by nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

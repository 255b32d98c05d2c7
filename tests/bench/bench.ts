import { Random } from "../support/random.ts";
import type { Programs } from "./programs.ts";
import type { Row } from "./rows.ts";

/** What the groups of rows work with. */
export interface Bench {
  readonly programs: Programs;
  readonly random: Random;
  /** What ends in some minutes, instead of an hour. */
  readonly quick: boolean;
}

/** A line of a plot: what a pass costs, by the number of something foreign. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** What a group gives. */
export interface Result {
  readonly rows: readonly Row[];
  readonly series?: readonly Series[];
}

/** Rows that belong together. */
export interface Group {
  readonly name: string;
  readonly measure: (bench: Bench) => Promise<Result>;
}

/** Always the same numbers. */
export function seeded(): Random {
  return new Random(1);
}

/** Calls something several times, one after the other. */
export async function repeat<T>(times: number, body: (i: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let i = 0; i < times; i++) results.push(await body(i));
  return results;
}

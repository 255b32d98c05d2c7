/**
 * Test equipment: what the test is told by its environment.
 *
 * @module
 */
import { MAX_NODES } from "./topology.ts";

/** See main.ts. */
export interface Options {
  readonly nodes: number;
  readonly minutes: number;
  readonly rounds: number;
  readonly poll: string;
  readonly seed: number;
}

/**
 * Reads them.
 *
 * @throws {RangeError} naming all that cannot be used
 */
export function optionsOf(env: Readonly<Record<string, string>>): Options {
  const problems: string[] = [];
  const number = (name: string, otherwise: number, most: number, least = 0) => {
    const text = env[name] ?? String(otherwise);
    const isFine = /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;
    if (!isFine) problems.push(`Cannot use ${name}="${text}": it has to be a whole number from ${least} to ${most}`);
    return Number(text);
  };
  const poll = env.POLL ?? "10s";
  if (!/^[1-9]\d*[sm]$/.test(poll)) problems.push(`Cannot use POLL="${poll}": it has to be like 10s or 1m`);
  const options = {
    nodes: number("NODES", 3, MAX_NODES, 1),
    minutes: number("MINUTES", 0, 24 * 60),
    rounds: number("LOSSES", 4, 1000, 1),
    poll,
    seed: number("SEED", Math.floor(Math.random() * 1e6), 2 ** 31),
  };
  if (problems.length > 0) throw new RangeError(problems.join("\n"));
  return options;
}

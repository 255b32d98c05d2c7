import type { Clock } from "../clock.ts";
import type { CommandRunner } from "../node/process.ts";
import type { About, Cause } from "./observer.ts";
import type { Report } from "./pass.ts";

/** Makes passes over some of what is wanted, and remembers between them what a single one cannot know. */
export interface Keeper extends AsyncDisposable {
  readonly about: About;
  /** Makes one pass, ended early by the signal. */
  pass(cause: Cause, signal?: AbortSignal): Promise<Report>;
}

/** What a {@linkcode Keeper} works with. */
export interface KeeperOptions {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  /** Longest wait for one answer of a command, in milliseconds. */
  readonly commandTimeout: number;
}

/** Whether a pass looks at more than what an event may have changed, and trusts no process that has looked before. */
export function isFull(cause: Cause): boolean {
  return cause === "start" || cause === "interval" || cause === "signal";
}

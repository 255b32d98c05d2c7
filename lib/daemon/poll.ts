import type { Clock } from "../clock.ts";
import { type CommandRunner, runCommand } from "../node/process.ts";
import { type Backend, iptablesProgram, judgeSaved } from "../node/iptables.ts";
import type { Rule } from "../desired/rules.ts";

/** Options for {@linkcode pollRules}. */
export interface PollOptions {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  /** Milliseconds between two looks. */
  readonly interval: number;
  /** Longest time of one listing, in milliseconds. */
  readonly timeout: number;
  /** Asks for a pass. */
  readonly onEvent: () => void;
  readonly signal: AbortSignal;
}

/**
 * Looks after rules whose kernel back end reports no events, and asks for a pass when they do not stand exactly once each.
 * With the legacy back end the look takes no lock (iptables-legacy-save has none), so that kube-proxy never waits for it.
 */
export async function pollRules(rules: readonly Rule[], backend: Backend, options: PollOptions): Promise<void> {
  const { clock, interval, onEvent, signal } = options;
  while (!signal.aborted) {
    await clock.delay(interval, signal);
    if (signal.aborted || (backend === "legacy" && await allStand(rules, options))) continue;
    if (!signal.aborted) onEvent();
  }
}

async function allStand(rules: readonly Rule[], { runner, timeout, signal }: PollOptions): Promise<boolean> {
  const parts = Map.groupBy(rules, ({ family, table }) => `${family} ${table}`).values();
  const checks = [...parts].map(async (part) => {
    const { family, table } = part[0]!;
    const argv = [iptablesProgram("save", family, "legacy"), "-t", table];
    const { stdout } = await runCommand(runner, argv, { timeout, signal });
    return judgeSaved(part, stdout).every(({ ok }) => ok);
  });
  return (await Promise.all(checks)).every(Boolean);
}

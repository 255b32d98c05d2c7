import type { Desired } from "../desired/desired.ts";
import { addressTool } from "../node/address.ts";
import { type Backend, rulesTools } from "../node/iptables.ts";
import { Sessions } from "../node/session.ts";
import type { Tool } from "../node/tool.ts";
import type { KeeperOptions } from "./keeper.ts";
import type { Observer } from "./observer.ts";
import { pass } from "./pass.ts";
import { settle } from "./settle.ts";

/** Longest time for all of it, in milliseconds; killing what hangs takes up to another second, before it and after. */
export const CLEANUP_MS = 7500;
/** The share of the rules: what they leave is enough for the addresses. */
const RULES_SHARE = 0.65;
/** A single command may not use up the whole of it. */
const COMMAND_MS = 4000;

/** Options for {@linkcode cleanup}. */
export interface CleanupOptions extends KeeperOptions {
  /** Back ends to remove the rules from. */
  readonly backends: readonly Backend[];
  /** Told of each pass. */
  readonly observer: Observer;
  /** When to give up, in milliseconds. @default {CLEANUP_MS} */
  readonly budget?: number;
}

/**
 * The removal pass: the rules, then the addresses, then the link if this program created it. Rules go first: clients would
 * otherwise run into an address that is gone but still spoken of. Each step is tried even if one before it failed, nothing
 * is created again, and all of it ends within 10 s.
 *
 * @param desired What was kept until now.
 * @returns Whether everything is gone.
 */
export async function cleanup(desired: Desired, options: CleanupOptions): Promise<boolean> {
  const { runner, clock, backends, observer, budget = CLEANUP_MS } = options;
  const commandTimeout = Math.min(options.commandTimeout, COMMAND_MS);
  const unwanted = { ...desired, want: "absent" } as const;
  await using sessions = new Sessions(runner, clock);
  const remove = (about: "addresses" | "rules", tools: readonly Tool[], limit: number) =>
    settle(async (cause, signal) => {
      const at = clock.now();
      const report = await pass(tools, { sessions, commandTimeout, signal });
      observer.onPass?.(report, { about, cause, at });
      return report;
    }, { clock, budget: limit });

  const deadline = clock.now() + budget;
  const rules = backends.flatMap((backend) => rulesTools(unwanted, backend, { commandTimeout }));
  const rulesGone = await remove("rules", rules, RULES_SHARE * budget);
  const addressesGone = await remove("addresses", [addressTool(unwanted)], deadline - clock.now());
  return rulesGone && addressesGone;
}

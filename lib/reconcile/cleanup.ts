import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { desired } from "../desired/desired.ts";
import type { Backend } from "../node/iptables.ts";
import type { Journal } from "../report/change_log.ts";
import { type Node, pass, tools } from "./reconcile.ts";
import { settle } from "./settle.ts";
import type { Tool } from "../node/tool.ts";

/** Longest time for the rules: what they leave of {@linkcode TOTAL_MS} is enough for the addresses. */
const RULES_MS = 5500;
/** Longest time for all of it; killing what hangs takes up to another second. */
const TOTAL_MS = 8500;
/** A single command may not use up the whole of it. */
const COMMAND_MS = 4000;

/** Options for {@linkcode cleanup}. */
export interface CleanupOptions {
  readonly clock: Clock;
  readonly journal: Journal;
  /** Back ends to remove the rules from. */
  readonly backends: readonly Backend[];
}

/**
 * The removal pass: the rules, then the addresses, then the link if this program created it. Rules go first: clients would
 * otherwise run into an address that is gone but still spoken of. Each step is tried even if one before it failed, nothing
 * is created again, and all of it ends within 10 s.
 *
 * @returns Whether everything is gone.
 */
export async function cleanup(config: Config, node: Node, options: CleanupOptions): Promise<boolean> {
  const { clock, journal, backends } = options;
  const impatient = { ...node, commandTimeout: Math.min(node.commandTimeout, COMMAND_MS) };
  const unwanted = desired(config, "absent");
  const remove = (some: readonly Tool[], budget: number) =>
    settle(async (cause, signal) => {
      const report = await pass(impatient, some, { signal });
      journal.onPass(report, { cause });
      return report;
    }, { clock, budget });

  const deadline = clock.now() + TOTAL_MS;
  const rules = backends.flatMap((backend) => tools(impatient, unwanted, { backend }).rules);
  const rulesGone = await remove(rules, RULES_MS);
  const { addresses } = tools(impatient, unwanted);
  const addressesGone = await remove([addresses], deadline - clock.now());
  return rulesGone && addressesGone;
}

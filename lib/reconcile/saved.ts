import type { Rule } from "../desired/rules.ts";
import { savedLook, type SavedLookOptions } from "../node/iptables_save.ts";
import type { CommandRunner } from "../node/process.ts";
import type { Report } from "./pass.ts";

/**
 * A pass that changes nothing and takes no lock.
 *
 * @param rules Those of one family.
 */
export async function lookAtSaved(
  runner: CommandRunner,
  rules: readonly Rule[],
  options: SavedLookOptions,
): Promise<Report> {
  const started = performance.now();
  const { findings, error, commands } = await savedLook(runner, rules, options);
  const items = rules.map((item, index) => ({ item, before: findings[index], after: findings[index], error }));
  return { items, ok: items.every(({ after }) => after?.ok), duration: performance.now() - started, commands };
}

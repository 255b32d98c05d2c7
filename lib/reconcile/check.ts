import type { Desired } from "../desired/desired.ts";
import { addressTool } from "../node/address.ts";
import { type BackendState, detectBackend, findStrays } from "../node/backend.ts";
import { type Backend, rulesTools } from "../node/iptables.ts";
import { Sessions } from "../node/session.ts";
import type { Tool } from "../node/tool.ts";
import type { KeeperOptions } from "./keeper.ts";
import { type ItemReport, merge, pass } from "./pass.ts";
import { lookAtSaved } from "./saved.ts";

/** An item, and the shell commands that would put it right. */
export interface CheckedItem extends ItemReport {
  /** Empty when it is as desired, or when it is not for this program to put right. */
  readonly remedies: readonly string[];
}

/** What a look came to. */
export interface CheckResult {
  readonly items: readonly CheckedItem[];
  /** Everything is as desired. */
  readonly ok: boolean;
  /** The back end of iptables that holds the rules; undefined without rules, or when only its plain commands are installed. */
  readonly backend: Backend;
  /** The other back end, if rules of ours stand in it too. */
  readonly strays: Backend;
}

/** Looks at everything and changes nothing: not even a table comes to be by it. */
export async function check(desired: Desired, known: BackendState, options: KeeperOptions): Promise<CheckResult> {
  const { runner, commandTimeout } = options;
  await using sessions = new Sessions(runner, options.clock);
  const addresses = addressTool(desired);
  const looks = [pass([addresses], { sessions, commandTimeout, apply: false })];
  const state = desired.rules.length === 0
    ? undefined
    : known.certainty === "unknown"
    ? await detectBackend(runner, { timeout: commandTimeout })
    : known;
  const backend = state?.backend;
  const rules = state === undefined ? [] : rulesTools(desired, backend, options);
  // Listing a table, as a pass does, would create it in the legacy back end.
  if (backend === "nft") looks.push(pass(rules, { sessions, commandTimeout, apply: false }));
  else {
    const rulesOf = ({ items }: Tool) => items.filter((item) => item.kind === "rule");
    looks.push(...rules.map((tool) => lookAtSaved(runner, rulesOf(tool), { backend, timeout: commandTimeout })));
  }
  const report = merge(await Promise.all(looks));
  const toolOf = (item: ItemReport["item"]) => [addresses, ...rules].find(({ items }) => items.includes(item));
  return {
    items: report.items.map((it) => {
      const tool = toolOf(it.item);
      return { ...it, remedies: tool === undefined ? [] : it.after?.repairs.map(tool.shell) ?? [] };
    }),
    ok: report.ok,
    backend,
    strays: state === undefined ? undefined : await findStrays(desired, backend, { runner, commandTimeout }),
  };
}

/**
 * Test equipment: configurations and reports, made from little.
 *
 * @module
 */
import { type Config, parseConfig } from "../../lib/config/config.ts";
import { desired, type Item } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import type { Finding, State } from "../../lib/node/tool.ts";

/** The configuration of a command line that is right. */
export function configOf(...argv: string[]): Config {
  const result = parseConfig(["--ip-address=10.96.0.2", ...argv]);
  if (result.kind !== "config") throw new Error(JSON.stringify(result));
  return result.config;
}

/** Everything that is wanted. */
export function itemsOf(config: Config): readonly Item[] {
  const { link, addresses, rules } = desired(config, "present");
  return [link, ...addresses, ...rules];
}

/** What {@linkcode reportOf} makes of some items. */
export interface Found {
  /** @default {"present"} */
  readonly before?: State | "unknown";
  /** @default {"present"} */
  readonly after?: State | "unknown";
  readonly damped?: boolean;
  /** The rest of what a look says. */
  readonly more?: Partial<Finding>;
}

/** The report of a pass over the kinds of items that are named. */
export function reportOf(config: Config, found: Partial<Record<Item["kind"], Found>>, duration = 4): Report {
  const finding = (item: Item, state: State | "unknown" = "present", more: Partial<Finding> = {}) =>
    state === "unknown" ? undefined : { item, state, ok: state === "present", repairs: [], ...more };
  const items = itemsOf(config).flatMap((item) => {
    const state = found[item.kind];
    return state === undefined ? [] : [{
      item,
      before: finding(item, state.before, state.more),
      after: finding(item, state.after, state.more),
      error: undefined,
      damped: state.damped === true,
    }];
  });
  return { items, ok: items.every(({ after }) => after?.ok), duration, commands: [] };
}

/**
 * What `--check` prints.
 *
 * @module
 */
import { bold, green, red, yellow } from "@std/fmt/colors";
import { itemName } from "../desired/desired.ts";
import type { Backend } from "../node/iptables.ts";
import type { ItemReport, Report } from "../reconcile/reconcile.ts";

/** What was looked at. */
export interface CheckResult {
  readonly report: Report;
  /** The back end of iptables that holds the rules; undefined without rules, or when only its plain commands are installed. */
  readonly backend: Backend;
  /** The other back end, if rules of ours stand in it too. */
  readonly strays: Backend;
}

/** The shape of `--check --output=json`. Keys may be added; none is renamed or removed. */
export interface CheckJson {
  readonly inSync: boolean;
  /** "nft" or "legacy"; null without rules, or when it is unknown. */
  readonly backend: string | null;
  /** The other back end, if rules that this program once made stand in it too; null if not. */
  readonly strayRulesIn: string | null;
  readonly items: readonly {
    readonly kind: "link" | "address" | "rule";
    /** `lo`; `10.96.0.2/32`; `raw OUTPUT -d …`. */
    readonly name: string;
    readonly state: "present" | "missing" | "surplus" | "wrong" | "unknown";
    readonly ok: boolean;
    /** What is there instead; null if the state says it all. */
    readonly detail: string | null;
    /** Why it could not be looked at; null if it could. */
    readonly error: string | null;
    /** Shell commands that would put it right. */
    readonly repair: readonly string[];
  }[];
}

/** The result for machines. */
export function checkJson({ report, backend, strays }: CheckResult): CheckJson {
  return {
    inSync: report.ok,
    backend: backend ?? null,
    strayRulesIn: strays ?? null,
    items: report.items.map((it) => ({
      kind: it.item.kind,
      name: itemName(it.item),
      state: it.after?.state ?? "unknown",
      ok: it.after?.ok === true,
      detail: it.after?.detail ?? null,
      error: it.error?.message ?? null,
      repair: it.remedies,
    })),
  };
}

/**
 * The result for a person: a line for each wanted thing, what would repair it below, and a summary.
 *
 * @param color Whether the reader sees colours.
 */
export function checkText({ report, backend, strays }: CheckResult, color: boolean): string {
  const paint = (style: (text: string) => string, text: string) => color ? style(text) : text;
  const { items } = report;
  const width = Math.max(4, ...items.map(({ item }) => nameIn(item).length));
  const lines = items.flatMap((it) => {
    const { item, after, error, remedies } = it;
    const state = after?.state ?? "unknown";
    const style = after?.ok ? green : state === "missing" || state === "unknown" ? red : yellow;
    const detail = after?.detail ?? error?.message ?? "";
    const padded = state.padEnd(7);
    const line = `${item.kind.padEnd(7)}  ${nameIn(item).padEnd(width)}  ${paint(style, padded)}  ${detail}`.trimEnd();
    return [line, ...remedies.map((remedy) => `         repair: ${remedy}`)];
  });
  const wrong = items.filter(({ after }) => !after?.ok).length;
  const summary = wrong === 0
    ? paint(green, `In sync: all ${items.length} are as wanted`)
    : paint(red, `Not in sync: ${wrong} of ${items.length} ${wrong === 1 ? "is" : "are"} not as wanted`);
  return [
    paint(bold, `${"KIND".padEnd(7)}  ${"WANTED".padEnd(width)}  STATE    DETAIL`),
    ...lines,
    ...strays === undefined ? [] : [
      paint(
        yellow,
        `Rules of an earlier run stand in the back end ${strays} too; --daemon=false --cleanup removes them`,
      ),
    ],
    summary + (backend === undefined ? "" : `; iptables back end: ${backend}`),
    "",
  ].join("\n");
}

function nameIn(item: ItemReport["item"]): string {
  return item.kind === "address" ? `${itemName(item)} on ${item.link}` : itemName(item);
}

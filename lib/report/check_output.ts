/**
 * What `--check` prints.
 *
 * @module
 */
import { bold, green, red, yellow } from "@std/fmt/colors";
import { itemName } from "../desired/desired.ts";
import type { CheckResult } from "../reconcile/check.ts";

/** The shape of `--check --output=json`. Keys may be added; none is renamed or removed. */
export interface CheckOutput {
  readonly inSync: boolean;
  /** "nft" or "legacy"; null without rules, or when it is unknown. */
  readonly backend: string | null;
  /** The other back end, if rules that this program once made stand in it too; null if not. */
  readonly strayRulesIn: string | null;
  readonly items: readonly {
    readonly kind: "link" | "address" | "rule";
    /** `lo`; `10.96.0.2/32`; `raw OUTPUT -d …`. */
    readonly name: string;
    /** Where an address is wanted; null for the others. */
    readonly interface: string | null;
    readonly state: "present" | "missing" | "surplus" | "wrong" | "unknown";
    readonly ok: boolean;
    /** What is there instead; null if the state says it all. */
    readonly detail: string | null;
    /** Why it could not be looked at; null if it could. */
    readonly error: string | null;
    /** What is as it should be, and yet to be known; null if there is nothing. */
    readonly warning: string | null;
    /** What putting it right would remove. */
    readonly removes: readonly string[];
    /** Shell commands that would put it right. */
    readonly repair: readonly string[];
  }[];
}

/** The result for machines; {@linkcode checkText} makes it readable. */
export function checkOutput({ items, ok, backend, strays }: CheckResult): CheckOutput {
  return {
    inSync: ok,
    backend: backend ?? null,
    strayRulesIn: strays ?? null,
    items: items.map(({ item, after, error, remedies }) => ({
      kind: item.kind,
      name: itemName(item),
      interface: item.kind === "address" ? item.link : null,
      state: after?.state ?? "unknown",
      ok: after?.ok === true,
      detail: after?.detail ?? null,
      error: error?.message ?? null,
      warning: after?.warning ?? null,
      removes: after?.removes ?? [],
      repair: remedies,
    })),
  };
}

/**
 * The result for a person: a line for each wanted thing, what would repair it below, and a summary.
 *
 * @param color Whether the reader sees colours.
 */
export function checkText({ items, backend, strayRulesIn }: CheckOutput, color: boolean): string {
  const paint = (style: (text: string) => string, text: string) => color ? style(text) : text;
  const wanted = items.map(({ name, interface: link }) => link === null ? name : `${name} on ${link}`);
  const width = Math.max(4, ...wanted.map(({ length }) => length));
  const lines = items.flatMap(({ kind, state, ok, detail, error, warning, removes, repair }, index) => {
    const style = ok ? green : state === "missing" || state === "unknown" ? red : yellow;
    const name = wanted[index]?.padEnd(width);
    return [
      `${kind.padEnd(7)}  ${name}  ${paint(style, state.padEnd(7))}  ${detail ?? error ?? ""}`.trimEnd(),
      ...warning === null ? [] : [`         ${paint(yellow, `warning: ${warning}`)}`],
      ...removes.map((removed) => `         removes: ${removed}`),
      ...repair.map((command) => `         repair: ${command}`),
    ];
  });
  const wrong = items.filter(({ ok }) => !ok).length;
  const summary = wrong === 0
    ? paint(green, `In sync: all ${items.length} are as wanted`)
    : paint(red, `Not in sync: ${wrong} of ${items.length} ${wrong === 1 ? "is" : "are"} not as wanted`);
  const strays =
    `Rules of an earlier run stand in the back end ${strayRulesIn} too; --daemon=false --cleanup removes them`;
  return [
    paint(bold, `${"KIND".padEnd(7)}  ${"WANTED".padEnd(width)}  STATE    DETAIL`),
    ...lines,
    ...strayRulesIn === null ? [] : [paint(yellow, strays)],
    summary + (backend === null ? "" : `; iptables back end: ${backend}`),
    "",
  ].join("\n");
}

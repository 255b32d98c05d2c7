import type { CommandError } from "../node/command_error.ts";
import { type Item, itemName } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import type { Cause, Observer, PassInfo } from "../reconcile/observer.ts";
import type { ItemReport, Report } from "../reconcile/pass.ts";

const log = getLog("change_log");

/** So many names of items with one and the same problem are told. */
const MAX_NAMES = 5;

const FAILED = { present: "Cannot keep", absent: "Cannot remove" } as const;
const PLURALS = { link: "links", address: "addresses", rule: "rules" } as const;

/** Items that are not as desired for one and the same reason. */
interface Problem {
  readonly items: readonly Item[];
  /** What is there instead. */
  readonly found: string;
  readonly error: CommandError | undefined;
}

/**
 * Tells in the log what passes changed and what they could not. A problem that lasts is told once, then counted; a warning is
 * told once.
 */
export class ChangeLog implements Observer {
  readonly #want: "present" | "absent";
  readonly #recurring: Recurring;
  readonly #open = new Map<string, Problem>();
  readonly #warnings = new Map<string, string | undefined>();

  /**
   * @param want What the passes are for.
   * @param now Milliseconds, by a clock that is never set.
   */
  constructor(want: "present" | "absent", now: () => number) {
    this.#want = want;
    this.#recurring = new Recurring({ now });
  }

  /** Tells of one pass. */
  onPass({ items, ok, duration }: Report, { cause }: Pick<PassInfo, "cause">): void {
    for (const report of items) {
      this.#tellWarning(report);
      tellChange(report, cause);
    }
    const problems = problemsOf(items);
    for (const [key, problem] of problems) this.#tellProblem(key, problem);
    const looked = new Set(items.map(({ item }) => itemName(item)));
    const troubled = new Set([...problems.values()].flatMap(({ items }) => items.map(itemName)));
    for (const [key, { items }] of this.#open) {
      // A problem with what the pass was not about goes on.
      if (problems.has(key) || !items.some((item) => looked.has(itemName(item)))) continue;
      this.#open.delete(key);
      const lasted = this.#recurring.over(key);
      // Or else it has become another problem, which was told.
      if (items.every((item) => !troubled.has(itemName(item)))) {
        log.info("A problem is over", { ...namesOf(items), failed: lasted && repeatText(lasted) });
      }
    }
    for (const [key, problem] of problems) this.#open.set(key, problem);
    // Looks that stand in for events are too many to be told of.
    log.v(cause === "poll" ? 4 : 2)?.info("Made a pass", { cause, ok, duration: `${duration.toFixed(1)}ms` });
  }

  #tellWarning({ item, after }: ItemReport): void {
    const warning = after?.warning;
    if (warning !== undefined && warning !== this.#warnings.get(itemName(item))) {
      log.warning(capitalise(warning), nameOf(item));
    }
    this.#warnings.set(itemName(item), warning);
  }

  #tellProblem(key: string, { items, found, error }: Problem): void {
    const repeated = this.#recurring.report(key);
    if (repeated === undefined) return;
    const message = `${FAILED[this.#want]} ${kindsOf(items)}`;
    log.error(repeated.times === 1 ? message : `${message}: still failing, ${repeatText(repeated)}`, {
      ...namesOf(items),
      found,
      error,
    });
  }
}

/** Tells what was put right. A fight is told once, by who dampens it. */
function tellChange({ item, before, after, damped }: ItemReport, cause: Cause): void {
  if (before?.ok !== false || !after?.ok) return;
  (damped ? log.v(2) : log)?.info(`${capitalise(before.verb ?? "put right")} ${item.kind}`, {
    ...nameOf(item),
    found: before.detail,
    removed: before.removes?.join(", "),
    cause,
  });
}

/** The items that are not as desired, by what is the matter with them. */
function problemsOf(items: Report["items"]): ReadonlyMap<string, Problem> {
  const problems = new Map<string, Problem>();
  for (const { item, after, error, damped } of items) {
    if (after?.ok || ((damped || after?.pending) && error === undefined)) continue;
    const found = after === undefined ? "unknown" : after.detail ?? after.state;
    const key = error === undefined
      ? `${itemName(item)}|${found}`
      // The text of the others may differ each time: how long the lock was waited for, say.
      : [error.argv[0], error.kind, error.kind === "other" ? error.message : ""].join("|");
    const { items = [], ...problem } = problems.get(key) ?? { found, error };
    problems.set(key, { ...problem, items: [...items, item] });
  }
  return problems;
}

/** `link and address`, `rules`. */
function kindsOf(items: readonly Item[]): string {
  const kinds = Map.groupBy(items, ({ kind }) => kind).entries();
  return [...kinds].map(([kind, own]) => own.length === 1 ? kind : PLURALS[kind]).join(" and ");
}

function nameOf(item: Item): Record<string, string> {
  switch (item.kind) {
    case "link":
      return { interface: item.name };
    case "address":
      return { address: itemName(item), interface: item.link };
    case "rule":
      return { rule: itemName(item) };
  }
}

function namesOf(items: readonly Item[]): Record<string, unknown> {
  if (items.length === 1) return nameOf(items[0]!);
  const more = items.length > MAX_NAMES ? [`and ${items.length - MAX_NAMES} more`] : [];
  return { items: [...items.slice(0, MAX_NAMES).map(itemName), ...more].join("; ") };
}

function capitalise(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

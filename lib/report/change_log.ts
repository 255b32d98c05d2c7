import type { CommandError } from "../node/command_error.ts";
import { type Item, itemName } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import type { Request } from "../daemon/loop.ts";
import type { Observer } from "./observer.ts";
import type { Report } from "../reconcile/reconcile.ts";

const log = getLog("change_log");

/** So many names of items with one and the same problem are told. */
const MAX_NAMES = 5;

const PLURALS = { link: "links", address: "addresses", rule: "rules" } as const;

/** Items that are not as desired for one and the same reason. */
interface Problem {
  readonly items: readonly Item[];
  /** What is there instead. */
  readonly found: string;
  readonly error: CommandError | undefined;
}

/** Tells in the log what passes changed and what they could not; a problem that lasts is told once, then counted. */
export class Journal implements Observer {
  readonly #want: "present" | "absent";
  readonly #recurring: Recurring;
  #open: ReadonlyMap<string, Problem> = new Map();

  /**
   * @param want What the passes are for.
   * @param now Milliseconds, by a clock that is never set.
   */
  constructor(want: "present" | "absent", now: () => number) {
    this.#want = want;
    this.#recurring = new Recurring({ now });
  }

  /** Tells of one pass. */
  onPass(report: Report, { cause }: Pick<Request, "cause">): void {
    for (const { item, before, after, damped } of report.items) {
      if (before?.ok === false && after?.ok) {
        // A fight is told once, by who dampens it.
        (damped ? log.v(2) : log)?.info(`${capitalise(before.verb ?? "put right")} ${item.kind}`, {
          ...nameOf(item),
          ...before.detail !== undefined && { found: before.detail },
          cause,
        });
      }
    }
    const problems = problemsOf(report);
    for (const [key, problem] of problems) this.#tellProblem(key, problem);
    const looked = new Set(report.items.map(({ item }) => itemName(item)));
    const troubled = new Set([...problems.values()].flatMap(({ items }) => items.map(itemName)));
    const open = new Map(problems);
    for (const [key, problem] of this.#open) {
      if (problems.has(key)) continue;
      if (!problem.items.some((item) => looked.has(itemName(item)))) {
        // The pass was about other things.
        open.set(key, problem);
        continue;
      }
      const lasted = this.#recurring.over(key);
      // Else it has become another problem, which was told.
      if (problem.items.every((item) => !troubled.has(itemName(item)))) {
        log.info("A problem is over", { ...namesOf(problem.items), ...lasted && { failed: repeatText(lasted) } });
      }
    }
    this.#open = open;
    log.v(2)?.info("Made a pass", { cause, ok: report.ok, duration: `${report.duration.toFixed(1)}ms` });
  }

  #tellProblem(key: string, { items, found, error }: Problem): void {
    const repeated = this.#recurring.report(key);
    if (repeated === undefined) return;
    const message = `Cannot ${this.#want === "present" ? "keep" : "remove"} ${kindsOf(items)}`;
    log.error(repeated.times === 1 ? message : `${message}: still failing, ${repeatText(repeated)}`, {
      ...namesOf(items),
      found,
      ...error && { error },
    });
  }
}

/** The items that are not as desired, by what is the matter with them. */
function problemsOf({ items }: Report): ReadonlyMap<string, Problem> {
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
  const [first] = items;
  if (first === undefined) return {};
  if (items.length === 1) return nameOf(first);
  const more = items.length > MAX_NAMES ? [`and ${items.length - MAX_NAMES} more`] : [];
  return { items: [...items.slice(0, MAX_NAMES).map(itemName), ...more].join("; ") };
}

function capitalise(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

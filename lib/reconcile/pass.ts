/**
 * One pass: look at the kernel, put right what is not as desired, look again.
 *
 * @module
 */
import type { Item } from "../desired/desired.ts";
import { CommandError } from "../node/command_error.ts";
import type { CommandOptions, CommandResult } from "../node/process.ts";
import type { Session, Sessions } from "../node/session.ts";
import type { Finding, Tool } from "../node/tool.ts";
import type { BackendState } from "../node/backend.ts";

/** After so many processes for parts of what failed, the rest is given up until the next pass. */
const MAX_PARTS = 64;

/** Some things are done in two steps: what is added in one place is removed elsewhere when a look has shown it. */
const MAX_ROUNDS = 2;

/** The longest wait for what is to be run before repairs. */
const PREPARATION_MS = 1000;

/** What a pass says of one item. */
export interface ItemReport {
  readonly item: Item;
  /** Undefined when the kernel could not be looked at. */
  readonly before: Finding | undefined;
  /** Undefined when the kernel could not be looked at. */
  readonly after: Finding | undefined;
  /** Why it is not as desired, where a command said so. */
  readonly error: CommandError | undefined;
  /** Something else changes it again and again, so that its repairs get pauses. */
  readonly damped?: boolean;
}

/** What a pass found, did, and found then. */
export interface Report {
  readonly items: readonly ItemReport[];
  /** Everything is as desired. */
  readonly ok: boolean;
  /** Milliseconds. */
  readonly duration: number;
  /** The commands that ended in it, or answered all that they were asked. */
  readonly commands: readonly CommandResult[];
  /** Milliseconds until the next pass is needed, since something has a pause or is on its way; undefined if none is. */
  readonly again?: number | undefined;
  /** Of a pass over rules: what is known of the back end of iptables that holds them. */
  readonly backend?: BackendState;
}

/** Options for {@linkcode pass}. */
export interface PassOptions {
  readonly sessions: Sessions;
  /** Longest wait for one answer of a command, in milliseconds. */
  readonly commandTimeout: number;
  /** False: look, change nothing. @default {true} */
  readonly apply?: boolean;
  /** Items that are not to be put right in this pass. @default {() => false} */
  readonly holds?: (item: Item) => boolean;
  /** Ends the pass, and its commands, early. */
  readonly signal?: AbortSignal | undefined;
}

/** Several reports, of passes that were made side by side, as one. */
export function merge(reports: readonly Report[]): Report {
  return {
    items: reports.flatMap(({ items }) => items),
    ok: reports.every(({ ok }) => ok),
    duration: Math.max(...reports.map(({ duration }) => duration)),
    commands: reports.flatMap(({ commands }) => commands),
  };
}

/**
 * Makes one pass. Never rejects for what a command did.
 *
 * @param tools What to look and repair with, side by side where no lock is in the way.
 */
export async function pass(tools: readonly Tool[], options: PassOptions): Promise<Report> {
  const { sessions, commandTimeout, apply = true, holds = () => false, signal } = options;
  const started = performance.now();
  const commands: CommandResult[] = [];
  const command = { timeout: commandTimeout, signal };
  const context = { sessions, apply, holds, command, parts: { left: MAX_PARTS }, commands };
  const turns = [...Map.groupBy(tools, (tool) => tool.lock ?? tool).values()];
  const items = (await Promise.all(turns.map((turn) => convergeAll(turn, context)))).flat();
  const duration = performance.now() - started;
  return { items, ok: items.every(({ after }) => after?.ok === true), duration, commands };
}

/** What the tools of one pass share. */
interface Context {
  readonly sessions: Sessions;
  readonly apply: boolean;
  readonly holds: (item: Item) => boolean;
  readonly command: CommandOptions;
  readonly parts: { left: number };
  readonly commands: CommandResult[];
}

/** One after the other. */
async function convergeAll(tools: readonly Tool[], context: Context): Promise<readonly ItemReport[]> {
  const reports: ItemReport[] = [];
  for (const tool of tools) reports.push(...await converge(tool, context));
  return reports;
}

/** Looks, repairs and looks again through one process; if that failed as a whole, once more part by part. */
async function converge(tool: Tool, context: Context): Promise<readonly ItemReport[]> {
  const { before, after, error, blamed } = await converse(tool, context);
  const parts = after !== undefined
    ? tool.next?.(after) ?? []
    : error !== undefined
    ? tool.parts(before === undefined ? "look" : "repair", error)
    : [];
  if (parts.length > 0 && context.parts.left >= parts.length) {
    context.parts.left -= parts.length;
    return await convergeAll(parts, context);
  }
  const [befores, afters] = [byItem(before), byItem(after)];
  return tool.items.map((item) => {
    const after = afters.get(item);
    return {
      item,
      before: befores.get(item),
      after,
      error: after?.ok ? undefined : blamed.get(item) ?? (after === undefined ? error : undefined),
    };
  });
}

function byItem(findings: readonly Finding[] = []): ReadonlyMap<Item, Finding> {
  return new Map(findings.map((finding) => [finding.item, finding]));
}

/** What a conversation came to. */
interface Outcome {
  /** Undefined when the first look failed. */
  readonly before: readonly Finding[] | undefined;
  /** Undefined when the last look failed. */
  readonly after: readonly Finding[] | undefined;
  readonly error: CommandError | undefined;
  readonly blamed: ReadonlyMap<Item, CommandError>;
}

/**
 * One conversation: a look, and then as long as something is broken that is not on hold, repairs and another look. The
 * process is kept only if all of that went well.
 */
async function converse(tool: Tool, { sessions, apply, holds, command, commands }: Context): Promise<Outcome> {
  const session = sessions.open(tool.argv, command);
  const told: (Item | undefined)[] = [];
  let before: readonly Finding[] | undefined;
  let after: readonly Finding[] | undefined;
  let unreadable: CommandError | undefined;
  const brokenIn = (findings: readonly Finding[] = []) =>
    findings.filter(({ item, repairs }) => repairs.length > 0 && !holds(item));
  const canRepair = apply && tool.next === undefined;
  try {
    before = after = await look(tool, session, told);
    for (let round = 0; canRepair && round < MAX_ROUNDS && brokenIn(after).length > 0; round++) {
      const broken = brokenIn(after);
      await prepare(tool, broken, sessions, command);
      after = await look(tool, session, told, broken);
    }
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    unreadable = new CommandError(tool.argv, { kind: "other", said: cause.message });
    after = undefined;
  }
  const isRepaired = after !== undefined && (!apply || brokenIn(after).every(({ ok }) => ok));
  const result = await session.end(tool.keepable && isRepaired && !session.hasComplained);
  commands.push(result);
  const error = unreadable ?? result.error;
  const itemAt = (line: number) => told[line - session.linesBefore - 1];
  return { before, after, error, blamed: error === undefined ? new Map() : tool.blame(error, itemAt) };
}

/** Does what comes before repairs. It is not among the commands of the report: that it fails is no fault. */
async function prepare(
  tool: Tool,
  broken: readonly Finding[],
  sessions: Sessions,
  { timeout, signal }: CommandOptions,
): Promise<void> {
  const preparation = tool.preparation?.(broken);
  if (preparation === undefined) return;
  const { argv, look, answered, script } = preparation;
  const session = sessions.open(argv, { timeout: Math.min(timeout, PREPARATION_MS), signal });
  const listing = await session.say(look, answered);
  const text = listing === undefined ? "" : script(listing.stdout);
  const answer = text === "" ? listing : await session.say(text, answered);
  await session.end(answer !== undefined);
}

/**
 * Repairs, and looks.
 *
 * @param told What each line was about; added to.
 * @returns Undefined when the process ended before it had answered.
 */
async function look(
  tool: Tool,
  session: Session,
  told: (Item | undefined)[],
  broken: readonly Finding[] = [],
): Promise<readonly Finding[] | undefined> {
  const looks = tool.look.split("\n").slice(1).map(() => undefined);
  const lines = [...broken.flatMap(({ item, repairs }) => repairs.map(() => item)), ...looks];
  told.push(...lines);
  const script = broken.length === 0 ? "" : tool.script(broken);
  const answer = await session.say(
    script + tool.look,
    ({ stdout, stderr }) => tool.answered(stdout, stderr, lines.length),
  );
  return answer === undefined ? undefined : tool.judge(answer.stdout);
}

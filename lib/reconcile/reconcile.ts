import { addressTool } from "../node/address.ts";
import type { CommandOptions, CommandResult, CommandRunner } from "../node/process.ts";
import { CommandError, type FailureKind } from "../node/command_error.ts";
import type { Address, Desired, Item } from "../desired/desired.ts";
import { type Backend, rulesTool } from "../node/iptables.ts";
import type { Finding, Tool } from "../node/tool.ts";

/** After so many processes for parts of what failed, the rest is given up until the next pass. */
const MAX_PARTS = 64;

/** Some things are done in two steps: what is added in one place is removed elsewhere when a look has shown it. */
const MAX_ROUNDS = 2;

/** Failures that one item or table may be to blame for, while the others can be put right. */
const OF_ONE_ITEM: readonly FailureKind[] = ["other", "unsupported", "no-table"];

/** Where a pass looks and acts. */
export interface Node {
  readonly runner: CommandRunner;
  /** Longest wait for one answer of a command, in milliseconds. */
  readonly commandTimeout: number;
  /** Type of a link that has to be created; `dummy` unless a test says otherwise. */
  readonly linkType?: string;
}

/** What a pass says of one item. */
export interface ItemReport {
  readonly item: Item;
  /** Undefined when the kernel could not be looked at. */
  readonly before: Finding | undefined;
  /** Undefined when the kernel could not be looked at. */
  readonly after: Finding | undefined;
  /** Why it is not as desired, where a command said so. */
  readonly error: CommandError | undefined;
  /** Shell commands that would put it right; empty when it is, or when it is not for this program to put right. */
  readonly remedies: readonly string[];
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
}

/** Options for {@linkcode pass}. */
export interface PassOptions {
  /** False: look, change nothing. @default {true} */
  readonly apply?: boolean;
  /** Whether to look through processes that have not looked before. @default {false} */
  readonly fresh?: boolean;
  /** Items that are not to be put right in this pass. @default {() => false} */
  readonly holds?: (item: Item) => boolean;
  /** Ends the pass, and its commands, early. */
  readonly signal?: AbortSignal | undefined;
}

/** Options for {@linkcode tools}. */
export interface ToolsOptions {
  /** Back end that holds the rules. @default whatever the plain command names drive */
  readonly backend?: Backend;
  /** As in {@linkcode AddressToolOptions}. */
  readonly waitForLink?: boolean;
  readonly settled?: (address: Address) => boolean;
}

/** The tools that keep what is desired: one for the addresses, one for the rules of each family. */
export function tools(
  { commandTimeout, linkType }: Node,
  desired: Desired,
  { backend, ...options }: ToolsOptions = {},
): { readonly addresses: Tool; readonly rules: readonly Tool[] } {
  // Half of what a command may take, so that it can say itself that the lock is held.
  const lockWait = Math.max(1, Math.floor(commandTimeout / 2000));
  return {
    addresses: addressTool(desired, { linkType, ...options }),
    rules: ([4, 6] as const).flatMap((family) => {
      const rules = desired.rules.filter((rule) => rule.family === family);
      return rules.length === 0 ? [] : [rulesTool(rules, { family, backend, want: desired.want, lockWait })];
    }),
  };
}

/** Several reports as one. */
export function merge(reports: readonly Report[]): Report {
  return {
    items: reports.flatMap(({ items }) => items),
    ok: reports.every(({ ok }) => ok),
    duration: Math.max(...reports.map(({ duration }) => duration)),
  };
}

/**
 * One pass: looks at the kernel, puts right what is not as desired, and looks again. Never rejects for what a command did.
 *
 * @param node Where to look and act.
 * @param tools What to look with, side by side.
 */
export async function pass(node: Node, tools: readonly Tool[], options: PassOptions = {}): Promise<Report> {
  const { apply = true, fresh = false, holds = () => false, signal } = options;
  const started = performance.now();
  const command = { timeout: node.commandTimeout, signal, fresh };
  const context = { runner: node.runner, apply, holds, command, parts: { left: MAX_PARTS } };
  const items = (await Promise.all(tools.map((tool) => converge(tool, context)))).flat();
  return { items, ok: items.every(({ after }) => after?.ok === true), duration: performance.now() - started };
}

interface Context {
  readonly runner: CommandRunner;
  readonly apply: boolean;
  readonly holds: (item: Item) => boolean;
  readonly command: CommandOptions;
  /** Shared by all tools of the pass. */
  readonly parts: { left: number };
}

/** Looks, repairs and looks again through one process; if that failed as a whole, once more part by part. */
async function converge(tool: Tool, context: Context): Promise<readonly ItemReport[]> {
  const { before, after, told, result, error } = await converse(tool, context);
  if (after === undefined && error !== undefined && OF_ONE_ITEM.includes(error.kind)) {
    const parts = tool.parts(before === undefined ? "look" : "repair");
    if (parts.length > 0 && context.parts.left >= parts.length) {
      context.parts.left -= parts.length;
      const reports: ItemReport[] = [];
      for (const part of parts) reports.push(...await converge(part, context));
      return reports;
    }
  }
  const blamed = error === undefined ? undefined : tool.blame(error, told, result.linesBefore);
  const found = (findings: readonly Finding[] | undefined) =>
    new Map(findings?.map((finding) => [finding.item, finding]));
  const [befores, afters] = [found(before), found(after)];
  return tool.items.map((item) => {
    const after = afters.get(item);
    return {
      item,
      before: befores.get(item),
      after,
      remedies: after?.repairs.map(tool.shell) ?? [],
      error: after?.ok ? undefined : blamed?.get(item) ?? (after === undefined ? error : undefined),
    };
  });
}

interface Conversed {
  readonly before?: readonly Finding[];
  readonly after?: readonly Finding[];
  /** As in {@linkcode Tool.blame}. */
  readonly told: readonly (Item | undefined)[];
  readonly result: CommandResult;
  readonly error: CommandError | undefined;
}

async function converse(tool: Tool, { runner, apply, holds, command }: Context): Promise<Conversed> {
  let talk = runner.start(tool.argv, command);
  const look = async (broken: readonly Finding[] = []): Promise<readonly Finding[] | undefined> => {
    const looked = tool.look.split("\n").slice(1).map(() => undefined);
    const lines = [...broken.flatMap(({ item, repairs }) => repairs.map(() => item)), ...looked];
    told.push(...lines);
    const script = broken.length === 0 ? "" : tool.script(broken);
    const listing = await talk.say(
      script + tool.look,
      (stdout, stderr) => tool.answered(stdout, stderr, lines.length),
    );
    return listing === undefined ? undefined : tool.judge(listing);
  };
  let before: readonly Finding[] | undefined;
  let after: readonly Finding[] | undefined;
  const told: (Item | undefined)[] = [];
  let unreadable: CommandError | undefined;
  try {
    before = after = await look();
    if (apply && talk.isReused && before !== undefined && tool.isStale(before)) {
      await talk.end();
      talk = runner.start(tool.argv, { ...command, fresh: true });
      told.length = 0;
      before = after = await look();
    }
    for (let round = 0; apply && round < MAX_ROUNDS && after !== undefined; round++) {
      const broken = after.filter(({ item, repairs }) => repairs.length > 0 && !holds(item));
      if (broken.length === 0) break;
      after = await look(broken);
    }
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    unreadable = new CommandError(tool.argv, { kind: "other", said: cause.message });
    after = undefined;
  }
  // Errors may come on stderr after the answer on stdout: only the end of the process is sure to have them all.
  const isRepaired = after?.every(({ item, ok, repairs }) => ok || repairs.length === 0 || holds(item));
  const reusable = isRepaired === true;
  const result = await talk.end({ reusable });
  return { ...before && { before }, ...after && { after }, told, result, error: unreadable ?? result.error };
}

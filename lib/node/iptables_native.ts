/**
 * Rules in a chain that iptables-nft cannot list, since native nftables rules stand in it ("… is incompatible, use 'nft'
 * tool"). It can insert, look for and delete a rule there all the same, one by one.
 *
 * Copies are counted by deleting: a transaction of so many `-D`, and an end that fails whatever is there, fails at the end if
 * there are so many copies, and else at a `-D`. In either case nothing is changed. `-C` would only tell that there is one.
 *
 * @module
 */
import type { Desired } from "../desired/desired.ts";
import type { Rule } from "../desired/rules.ts";
import { canonicalIp } from "../ip.ts";
import { CommandError } from "./command_error.ts";
import { judge } from "./iptables_judge.ts";
import { END, transactions } from "./iptables_language.ts";
import type { Finding, Tool } from "./tool.ts";

/** More copies than this are removed in several passes. */
const MAX_COPIES = 16;
/** Comes back after the repairs. */
const DONE = "# repaired";

/** Options for {@linkcode countingTool}. */
export interface NativeOptions {
  readonly want: Desired["want"];
  /** The tool that tried to list the chain. */
  readonly listing: Tool;
}

/**
 * Asks whether there are so many copies of a rule. The process ends with the answer, so that it is
 * {@linkcode Tool.parts} that goes on.
 *
 * @param lists Whether the end tries to list the chain: with 1.8.7 only that failure has a text of its own.
 */
export function countingTool(rule: Rule, options: NativeOptions, copies = 1, lists = true): Tool {
  const { table, chain, spec } = rule;
  const deletions = Array<string>(copies).fill(`-D ${chain} ${spec}`);
  // The last one fails wherever the others do not: the chain is there.
  const commands = [...deletions, ...lists ? [`-S ${chain}`] : [], `-N ${chain}`];
  return {
    ...countedTool(rule, options, copies),
    look: transactions(commands.map((command) => ({ table, command }))),
    answered: () => false,
    parts(_, error) {
      switch (error.kind) {
        case "absent":
        case "unexplained":
          return [countedTool(rule, options, copies - 1)];
        case "incompatible":
        case "exists":
          if (copies === MAX_COPIES) return [countedTool(rule, options, copies)];
          return [countingTool(rule, options, copies + 1, lists)];
        case "unreadable":
          // Whether a deletion or the listing met the rule that iptables cannot read is not said.
          if (lists) return [countingTool(rule, options, copies, false)];
          return [copies > 1 ? countedTool(rule, options, copies - 1) : nftTool(rule, options, error)];
        default:
          return [];
      }
    },
  };
}

/** Puts right what was counted. */
function countedTool(rule: Rule, { want, listing }: NativeOptions, copies: number): Tool {
  const wanted = want === "present" ? 1 : 0;
  return {
    ...listing,
    items: [rule],
    look: `${END}\n`,
    answered: (stdout) => stdout.endsWith(`${END}\n`),
    judge: (answer) => judgeCount(rule, want, answer.includes(DONE) && copies < MAX_COPIES ? wanted : copies),
    script: (findings) => `${listing.script(findings)}${DONE}\n`,
    blame: (error) => new Map([[rule, error.kind === "unreadable" ? unreadable(error, rule) : error]]),
    parts: () => [],
  };
}

/** Counts copies by what nft prints. It reads every rule, but for that the whole ruleset of the node. */
function nftTool(rule: Rule, options: NativeOptions, cause: CommandError): Tool {
  const { family, table, chain, spec } = rule;
  const { want } = options;
  const count = (listing: string) => listing.split("\n").filter((line) => specOf(line) === spec).length;
  return {
    ...countedTool(rule, options, 0),
    argv: ["nft", "--stateless", "list", "chain", family === 4 ? "ip" : "ip6", table, chain],
    look: "",
    keepable: false,
    answered: (stdout) => stdout.endsWith("\t}\n}\n"),
    judge: (listing) => judgeCount(rule, want, count(listing)),
    blame: () => new Map([[rule, unreadable(cause, rule)]]),
    next: ([{ state, repairs } = { state: "missing", repairs: [] }]) => {
      const deletions = repairs.filter(({ command }) => command.startsWith("-D ")).length;
      return [countedTool(rule, options, deletions > 0 ? deletions : state === "present" ? 1 : 0)];
    },
  };
}

/** What iptables would print for a line of nft, if that may be one of ours. */
function specOf(line: string): string | undefined {
  const [found, side, ip = "", port, target] =
    /^\t+(?:meta l4proto tcp )?ip6? ([ds])addr ([\da-f.:]+) tcp \1port (\d+) counter (accept|notrack)$/.exec(line) ??
      [];
  if (found === undefined) return undefined;
  const prefix = ip.includes(":") ? 128 : 32;
  return `-${side} ${canonicalIp(ip)}/${prefix} -p tcp -m tcp --${side}port ${port} -j ${target?.toUpperCase()}`;
}

function judgeCount(rule: Rule, want: Desired["want"], copies: number): readonly Finding[] {
  const { table, chain, spec } = rule;
  const listed = { table, chain, specs: Array<string>(copies).fill(spec) };
  const text = "its chain holds native nftables rules and cannot be listed";
  return judge([rule], want, [listed]).map((finding) => ({
    ...finding,
    // The listing is made up, and the native rules are there.
    isBare: false,
    detail: finding.detail === undefined ? text : `${finding.detail}; ${text}`,
  }));
}

function unreadable({ argv, kind, code, stderr }: CommandError, { family, table, chain }: Rule): CommandError {
  const owner = `table ${family === 4 ? "ip" : "ip6"} ${table}`;
  return new CommandError(
    argv,
    {
      kind,
      said: `it cannot read a native nftables rule in chain ${chain} of ${owner}`,
      remedy: `see "nft list ${owner}", and give these native rules a table of another name`,
    },
    code,
    stderr,
  );
}

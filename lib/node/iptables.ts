/**
 * Rules through `iptables-restore`, which takes any iptables command on stdin: it lists chains (`-S`), and commits all changes
 * of a table at once.
 *
 * @module
 */
import type { Desired } from "../desired/desired.ts";
import type { Rule } from "../desired/rules.ts";
import { CommandError, type FailureKind } from "./command_error.ts";
import { creation } from "./iptables_creation.ts";
import { judge } from "./iptables_judge.ts";
import { chainsOf, END, isWhole, parseListing, transactions } from "./iptables_language.ts";
import { countingTool } from "./iptables_native.ts";
import type { Finding, Tool } from "./tool.ts";

/** Failures that one rule or table may be to blame for, while the others can be put right. */
const OF_ONE_RULE: readonly FailureKind[] = [
  "other",
  "unexplained",
  "absent",
  "unsupported",
  "no-table",
  "foreign-chain",
  "owned",
];

/** A back end of iptables in the kernel; undefined: whatever the plain command names drive. */
export type Backend = "nft" | "legacy" | undefined;

/** Options for {@linkcode rulesTool}. */
export interface RulesToolOptions {
  readonly family: 4 | 6;
  readonly backend: Backend;
  readonly want: Desired["want"];
  /** Longest wait for the xtables lock, in whole seconds. */
  readonly lockWait: number;
}

/** The name of a program of the iptables suite: `("restore", 6, "nft")` is `ip6tables-nft-restore`. */
export function iptablesProgram(what: "restore" | "save" | "", family: 4 | 6, backend: Backend): string {
  return [family === 4 ? "iptables" : "ip6tables", backend ?? "", what].filter((part) => part !== "").join("-");
}

/** The tools that keep the rules of each family in a back end. */
export function rulesTools(
  { rules, want }: Desired,
  backend: Backend,
  { commandTimeout }: { readonly commandTimeout: number },
): readonly Tool[] {
  // Half of what a command may take, so that it can say itself that the lock is held.
  const lockWait = Math.max(1, Math.floor(commandTimeout / 2000));
  return ([4, 6] as const).flatMap((family) => {
    const own = rules.filter((rule) => rule.family === family);
    return own.length === 0 ? [] : [rulesTool(own, { family, backend, want, lockWait })];
  });
}

/** The tool that keeps the rules of one family and back end. */
export function rulesTool(rules: readonly Rule[], options: RulesToolOptions): Tool {
  const { family, backend, want, lockWait } = options;
  const chains = chainsOf(rules);
  const tool: Tool = {
    argv: [iptablesProgram("restore", family, backend), "--noflush", "--verbose", `--wait=${lockWait}`],
    items: rules,
    // 1.8.7 waits a whole second when it meets the lock, even that of its own sister.
    ...backend !== "nft" && { lock: "xtables" },
    look: transactions(chains.map(({ table, chain }) => ({ table, command: `-S ${chain}` }))) + `${END}\n`,
    answered: isWhole,
    judge: (listing) => judge(rules, want, parseListing(listing, chains)),
    ...backend === "nft" && want === "present" && { preparation: (findings) => creation(family, findings) },
    script,
    shell: ({ table, command, typed = command }) => `${iptablesProgram("", family, backend)} -t ${table} ${typed}`,
    keepable: true,
    // A transaction fails as a whole.
    blame: (error) =>
      new Map(error.kind === "foreign-chain" ? rules.map((rule) => [rule, foreignChain(error, rule)]) : []),
    parts(failed, error) {
      const isNative = error.kind === "incompatible" || error.kind === "unreadable";
      if (failed === "look" && isNative && chains.length === 1) {
        return rules.map((rule) => countingTool(rule, { want, listing: tool }));
      }
      const parts = isNative
        ? chains.map(({ table, chain }) => rules.filter((rule) => rule.table === table && rule.chain === chain))
        : OF_ONE_RULE.includes(error.kind)
        ? partsOf(rules, failed)
        : [];
      return parts.map((part) => rulesTool(part, options));
    },
  };
  return tool;
}

/** Each missing rule goes to the top, so the last one goes first; the positions of the others are those before. */
function script(findings: readonly Finding[]): string {
  return transactions([
    ...findings.filter(({ state }) => state !== "missing"),
    ...findings.filter(({ state }) => state === "missing").toReversed(),
  ].flatMap(({ repairs }) => repairs));
}

/** One part for each table; of one table, halves if a repair failed. */
function partsOf(rules: readonly Rule[], failed: "look" | "repair"): readonly (readonly Rule[])[] {
  const tables = [...Map.groupBy(rules, ({ table }) => table).values()];
  if (tables.length > 1) return tables;
  const half = Math.floor(rules.length / 2);
  return failed === "look" || half === 0 ? [] : [rules.slice(0, half), rules.slice(half)];
}

function foreignChain({ argv, code, stderr, kind }: CommandError, { family, table, chain }: Rule): CommandError {
  const owner = `table ${family === 4 ? "ip" : "ip6"} ${table}`;
  return new CommandError(
    argv,
    {
      kind,
      said: `chain ${chain} of ${owner} was not made by iptables: it has no hook, or another hook or priority`,
      remedy: `see "nft list ${owner}", and give these native rules a table of another name`,
    },
    code,
    stderr,
  );
}

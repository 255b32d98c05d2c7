/**
 * Rules through `iptables-restore`, which takes any iptables command on stdin: it lists chains (`-S`), and commits all changes
 * of a table at once. It is never asked whether a rule exists (`-C`): several releases said no to a rule that was there.
 *
 * @module
 */
import { canonicalIp } from "../ip.ts";
import { CHAINS, type Rule, type Table } from "../desired/rules.ts";
import type { Desired } from "../desired/desired.ts";
import type { Finding, Repair, Tool } from "./tool.ts";

/** With --verbose, iptables-restore prints the comments of its input, which marks the end of a listing. */
const END = "# end of listing";

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

/** The tool that keeps the rules of one family and back end. */
export function rulesTool(rules: readonly Rule[], options: RulesToolOptions): Tool {
  const { family, backend, want, lockWait } = options;
  const chains = chainsOf(rules);
  return {
    argv: [iptablesProgram("restore", family, backend), "--noflush", "--verbose", `--wait=${lockWait}`],
    items: rules,
    look: transactions(chains.map(({ table, chain }) => ({ table, command: `-S ${chain}` }))) + `${END}\n`,
    answered: (stdout) => stdout.endsWith(`${END}\n`),
    judge: (listing) => judge(rules, want, parse(listing, chains)),
    // Each missing rule goes to the top, so the last one goes first; the positions of the others are those before.
    script: (findings) =>
      transactions([
        ...findings.filter(({ state }) => state !== "missing"),
        ...findings.filter(({ state }) => state === "missing").toReversed(),
      ].flatMap(({ repairs }) => repairs)),
    shell: ({ table, command }) => `${iptablesProgram("", family, backend)} -t ${table} ${command}`,
    isStale: () => false,
    blame: () => new Map(), // a transaction fails as a whole
    parts(failed) {
      const tables = (Object.keys(CHAINS) as Table[]).map((table) => rules.filter((rule) => rule.table === table));
      const parts = tables.every((part) => part.length > 0)
        ? tables
        : failed === "look" || rules.length < 2
        ? []
        : [rules.slice(0, rules.length / 2), rules.slice(rules.length / 2)];
      return parts.map((part) => rulesTool(part, options));
    },
  };
}

/**
 * Compares what iptables-save printed of a family with the rules that are to be there. The legacy one takes no lock, and
 * creates no table.
 */
export function judgeSaved(rules: readonly Rule[], saved: string): readonly Finding[] {
  const lines = saved.split("\n");
  const listed = chainsOf(rules).map(({ table, chain }) => {
    const from = lines.indexOf(`*${table}`);
    const to = lines.indexOf("COMMIT", from);
    const prefix = `-A ${chain} `;
    const own = from < 0 ? [] : lines.slice(from, to).filter((line) => line.startsWith(prefix));
    return { table, chain, specs: own.map((line) => line.slice(prefix.length)) };
  });
  return judge(rules, "present", listed);
}

/** The chains that the rules stand in, in the order in which they are listed. */
function chainsOf(rules: readonly Rule[]): readonly { readonly table: Table; readonly chain: string }[] {
  return (Object.keys(CHAINS) as Table[]).flatMap((table) =>
    CHAINS[table].filter((chain) => rules.some((rule) => rule.table === table && rule.chain === chain))
      .map((chain) => ({ table, chain }))
  );
}

/** Commands as input of iptables-restore: one transaction for each run of commands in one table. */
function transactions(commands: readonly Repair[]): string {
  return (Object.keys(CHAINS) as Table[]).map((table) => {
    const lines = commands.filter((command) => command.table === table).map(({ command }) => `${command}\n`);
    return lines.length === 0 ? "" : `*${table}\n${lines.join("")}COMMIT\n`;
  }).join("");
}

/** A chain as listed: the specs of its rules as printed, from the top. */
interface Listed {
  readonly table: Table;
  readonly chain: string;
  readonly specs: readonly string[];
}

function parse(
  listing: string,
  chains: readonly { readonly table: Table; readonly chain: string }[],
): readonly Listed[] {
  const listed: { table: Table; chain: string; specs: string[] }[] = [];
  for (const line of listing.split("\n")) {
    if (line.startsWith("-P ")) {
      const expected = chains[listed.length];
      if (expected === undefined || !line.startsWith(`-P ${expected.chain} `)) {
        throw new SyntaxError(`Cannot read the listing of iptables: unexpected line "${line}"`);
      }
      listed.push({ ...expected, specs: [] });
    } else {
      const chain = listed.at(-1);
      const prefix = `-A ${chain?.chain} `;
      if (line.startsWith(prefix)) chain?.specs.push(line.slice(prefix.length));
    }
  }
  if (listed.length !== chains.length) {
    throw new SyntaxError(`Cannot read the listing of iptables: ${listed.length} chains instead of ${chains.length}`);
  }
  return listed;
}

/** A rule as some release of iptables printed it, in the form of {@linkcode Rule.spec}. */
export function normaliseSpec(spec: string): string {
  // The same target under its newer name; from 1.8.10 on it is printed so.
  const renamed = spec.endsWith(" -j CT --notrack") ? spec.replace(/CT --notrack$/, "NOTRACK") : spec;
  // inet_ntop(3) and RFC 5952 differ on addresses with an embedded IPv4 address.
  return renamed.includes("::")
    ? renamed.replace(/^(-[ds]) ([\da-f:.]+)(?=\/128 )/, (_, match, ip) => `${match} ${canonicalIp(ip)}`)
    : renamed;
}

function judge(rules: readonly Rule[], want: Desired["want"], chains: readonly Listed[]): readonly Finding[] {
  const findings = new Map<Rule, Finding>();
  for (const { table, chain, specs } of chains) {
    const own = rules.filter((rule) => rule.table === table && rule.chain === chain);
    const copies = new Map<string, string[]>(own.map((rule) => [rule.spec, []]));
    const printed = specs.map(normaliseSpec);
    printed.forEach((spec, index) => copies.get(spec)?.push(specs[index] ?? spec));
    let simulated = printed;
    for (const rule of own) {
      const found = copies.get(rule.spec) ?? [];
      const deletions = found.map((spec) => ({ table, command: `-D ${chain} ${spec}` }));
      if (want === "absent") {
        findings.set(rule, {
          item: rule,
          state: found.length === 0 ? "missing" : "present",
          ok: found.length === 0,
          ...(found.length > 1 && { detail: `${found.length} copies` }),
          verb: "removed",
          repairs: deletions,
        });
      } else if (found.length > 1) {
        // By spec, never by number: a number may be another rule's by the time it is read. `-D` takes the topmost copy,
        // which is the one to keep, so all go and one comes back in its place, in one transaction.
        const position = simulated.indexOf(rule.spec);
        simulated = simulated.filter((spec, index) => spec !== rule.spec || index === position);
        findings.set(rule, {
          item: rule,
          state: "surplus",
          ok: false,
          detail: `${found.length} copies`,
          verb: "brought back to one",
          repairs: [...deletions, { table, command: `-I ${chain} ${position + 1} ${rule.spec}` }],
        });
      } else {
        const present = found.length === 1;
        findings.set(rule, {
          item: rule,
          state: present ? "present" : "missing",
          ok: present,
          verb: "added",
          repairs: present ? [] : [{ table, command: `-I ${chain} ${rule.spec}` }],
        });
      }
    }
  }
  return rules.flatMap((rule) => findings.get(rule) ?? []);
}

/**
 * Test equipment: the chains of one family and back end as the kernel keeps them, told in the language of `iptables`.
 *
 * @module
 */
import { ntop } from "./fake_links.ts";

/** A chain: its policy, if it is a built-in one, and the specs of its rules from the top. */
export interface FakeChain {
  readonly policy: string | undefined;
  /** A native nftables rule begins with {@linkcode NATIVE}. */
  readonly rules: readonly string[];
  /** It was made by nft, with another hook or priority than iptables gives it. */
  readonly foreign?: boolean;
}

/** Begins a rule that only nft could make. */
export const NATIVE = "nft: ";

/** The chains of one table, by name. */
export type FakeTable = ReadonlyMap<string, FakeChain>;

/** Why a command on a chain cannot be done, by the names of the kernel's error codes. */
export class RuleError extends Error {
  /** @param said For "unreadable". */
  constructor(
    readonly reason: "no chain" | "no rule" | "no index" | "is there" | "incompatible" | "unreadable",
    readonly said = "",
  ) {
    super(reason);
  }
}

const BUILT_IN = {
  raw: ["PREROUTING", "OUTPUT"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
};
const OPTIONS =
  "-s -d -p -m -i -o -j --sport --dport --ctstate --comment --notrack --ports --mark --src-type --dst-type"
    .split(" ");

/** The tables as they are at first. */
export function emptyTables(): Map<string, FakeTable> {
  return new Map(
    Object.entries(BUILT_IN).map((
      [table, chains],
    ) => [table, new Map(chains.map((chain) => [chain, { policy: "ACCEPT", rules: [] }]))]),
  );
}

/** Options for {@linkcode change}. */
export interface ChangeOptions {
  /** As iptables 1.8.10 and later: NOTRACK is another name of `CT --notrack`. */
  readonly modern: boolean;
}

/**
 * A table after one command: `-A`, `-I`, `-D`, `-C`, `-N`, `-F` or `-P`.
 *
 * @throws {RuleError} if iptables would fail; {Error} if this model does not know the command.
 */
export function change(table: FakeTable, command: string, { modern }: ChangeOptions): FakeTable {
  const [, verb = "", name = "", rest = ""] = /^(-[AIDCNFP]) (\S+) ?(.*)$/.exec(command) ?? [];
  const chain = table.get(name);
  const put = (chain: FakeChain) => new Map([...table, [name, chain]]);
  if (verb === "-N" && chain !== undefined) throw new RuleError("is there");
  if (verb === "-N") return put({ policy: undefined, rules: [] });
  if (verb === "") throw new Error(`FakeRules does not know "${command}"`);
  if (chain === undefined) throw new RuleError("no chain");
  const { rules } = chain;
  const [, number, text = ""] = /^(?:(\d+) )?(.*)$/.exec(rest) ?? [];
  switch (verb) {
    case "-F":
      return put({ ...chain, rules: [] });
    case "-P":
      return put({ ...chain, policy: rest });
    case "-A":
      return put({ ...chain, rules: [...rules, printed(text, modern)] });
    case "-I":
      if (Number(number ?? 1) > rules.length + 1) throw new RuleError("no index");
      return put({ ...chain, rules: rules.toSpliced(Number(number ?? 1) - 1, 0, printed(text, modern)) });
    default: {
      const index = number === undefined ? find(chain, printed(text, modern)) : Number(number) - 1;
      if (rules[index] === undefined) throw new RuleError(number === undefined ? "no rule" : "no index");
      return verb === "-C" ? table : put({ ...chain, rules: rules.toSpliced(index, 1) });
    }
  }
}

/** A table after nft added a rule to one of its chains, or made that chain. */
export function addNative(table: FakeTable, name: string, rule: string | undefined): FakeTable {
  const chain = table.get(name) ?? { policy: "ACCEPT", rules: [] };
  const next = rule === undefined
    ? { ...chain, foreign: true }
    : { ...chain, rules: [...chain.rules, `${NATIVE}${rule}`] };
  return new Map([...table, [name, next]]);
}

/** What iptables 1.8.9 does with the rules that nft made: it refuses the chain, or ends when it comes upon them, or both. */
const NATIVE_RULES: readonly { readonly rule: RegExp; readonly refused: boolean; readonly error?: string }[] = [
  { rule: /^nft: ct state vmap/, refused: true },
  { rule: /^nft: ct state/, refused: true, error: "cmp sreg undef" },
  { rule: /^nft: meta skuid/, refused: false, error: "unknown ipv4 meta key" },
];

function native(rule: string): typeof NATIVE_RULES[number] | undefined {
  if (!rule.startsWith(NATIVE)) return undefined;
  const found = NATIVE_RULES.find((it) => it.rule.test(rule));
  if (found === undefined) throw new Error(`FakeRules does not know the rule "${rule}"`);
  return found;
}

/** Ends as iptables does when it comes upon a rule that it cannot read. */
function read(rules: readonly string[]): void {
  const error = rules.map((rule) => native(rule)?.error).find((error) => error !== undefined);
  if (error !== undefined) throw new RuleError("unreadable", error);
}

/** The index of a rule, as iptables looks for it from the top. */
function find({ rules, foreign }: FakeChain, spec: string): number {
  if (foreign) return -1;
  const index = rules.indexOf(spec);
  read(rules.slice(0, index < 0 ? undefined : index));
  return index;
}

/** A chain as `-S` lists it. @throws {RuleError} if it cannot be listed to its end */
export function list(name: string, chain: FakeChain): string {
  if (chain.foreign) return `-P ${name} ACCEPT\n`;
  const { policy, rules } = chain;
  if (rules.some((rule) => native(rule)?.refused)) throw new RuleError("incompatible");
  read(rules);
  const head = policy === undefined ? `-N ${name}` : `-P ${name} ${policy}`;
  return [head, ...rules.map((spec) => `-A ${name} ${spec}`), ""].join("\n");
}

/** A chain as `nft --stateless` lists it; of the rules of iptables it knows those of one address and port. */
export function listForNft(table: string, name: string, { rules }: FakeChain): string {
  const lines = rules.map((rule) => {
    if (rule.startsWith(NATIVE)) return rule.slice(NATIVE.length);
    const [, side, ip, port, target = ""] = /^-([sd]) (\S+)\/\d+ -p tcp -m tcp --[sd]port (\d+) -j (\w+)$/.exec(rule) ??
      [];
    if (ip === undefined) throw new Error(`FakeRules does not know how nft prints "${rule}"`);
    return `ip${ip.includes(":") ? "6" : ""} ${side}addr ${ip} tcp ${side}port ${port} counter ${target.toLowerCase()}`;
  });
  const head = `type filter hook ${name.toLowerCase()} priority filter; policy accept;`;
  return [`table ${table} {`, `\tchain ${name} {`, ...[head, ...lines].map((line) => `\t\t${line}`), "\t}", "}", ""]
    .join("\n");
}

/** A table as iptables-save prints it. */
export function save(name: string, table: FakeTable): string {
  const heads = [...table].map(([chain, { policy }]) => `:${chain} ${policy ?? "-"} [0:0]`);
  const rules = [...table].flatMap(([chain, { rules }]) => rules.map((spec) => `-A ${chain} ${spec}`));
  return [`*${name}`, ...heads, ...rules, "COMMIT", ""].join("\n");
}

/** The commands that make a table; what is there from the first is left out. */
export function dumpTable(table: FakeTable): readonly string[] {
  return [...table].toSorted(([a], [b]) => a < b ? -1 : 1)
    .flatMap(([name, { policy, rules }]) => [
      policy === undefined ? `-N ${name}` : `-P ${name} ${policy}`,
      ...rules.map((spec) => `-A ${name} ${spec}`),
    ])
    .filter((line) => !/^-P \S+ ACCEPT$/.test(line))
    .toSorted((a, b) => Number(b.startsWith("-N")) - Number(a.startsWith("-N")));
}

/** A spec in the form in which iptables prints it; only such ones are taken, but for the spelling of addresses. */
function printed(spec: string, modern: boolean): string {
  const words = spec.replaceAll(/"[^"]*"/g, "text").split(" ");
  const unknown = words.find((word) => word.startsWith("-") && !OPTIONS.includes(word));
  const unprinted = /-[sd] [^ /]+( |$)/.test(spec) || (/--[sd]port/.test(spec) && !/-p (tcp|udp) .*-m \1/.test(spec));
  if (unknown !== undefined || unprinted) throw new Error(`FakeRules does not know the rule "${spec}"`);
  return spec
    .replaceAll(/(?<=-[sd] )[^ /]+/g, ntop)
    .replace(/ NOTRACK$/, modern ? " CT --notrack" : " NOTRACK");
}

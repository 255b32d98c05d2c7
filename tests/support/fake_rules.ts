/**
 * Test equipment: the chains of one family and back end as the kernel keeps them, told in the language of `iptables`.
 *
 * @module
 */
import { ntop } from "./fake_links.ts";

/** A chain: its policy, if it is a built-in one, and the specs of its rules from the top. */
export interface FakeChain {
  readonly policy: string | undefined;
  readonly rules: readonly string[];
}

/** The chains of one table, by name. */
export type FakeTable = ReadonlyMap<string, FakeChain>;

/** Why a command on a chain cannot be done, by the names of the kernel's error codes. */
export class RuleError extends Error {
  constructor(readonly reason: "no chain" | "no rule" | "no index") {
    super(reason);
  }
}

const BUILT_IN = {
  raw: ["PREROUTING", "OUTPUT"],
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
 * A table after one command: `-A`, `-I`, `-D`, `-N`, `-F` or `-P`.
 *
 * @throws {RuleError} if iptables would fail; {Error} if this model does not know the command.
 */
export function change(table: FakeTable, command: string, { modern }: ChangeOptions): FakeTable {
  const [, verb = "", name = "", rest = ""] = /^(-[AIDNFP]) (\S+) ?(.*)$/.exec(command) ?? [];
  const chain = table.get(name);
  const put = (chain: FakeChain) => new Map([...table, [name, chain]]);
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
      const index = number === undefined ? rules.indexOf(printed(text, modern)) : Number(number) - 1;
      if (rules[index] === undefined) throw new RuleError(number === undefined ? "no rule" : "no index");
      return put({ ...chain, rules: rules.toSpliced(index, 1) });
    }
  }
}

/** A chain as `-S` lists it. */
export function list(name: string, { policy, rules }: FakeChain): string {
  const head = policy === undefined ? `-N ${name}` : `-P ${name} ${policy}`;
  return [head, ...rules.map((spec) => `-A ${name} ${spec}`), ""].join("\n");
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
    .flatMap(([name, chain]) => list(name, chain).trimEnd().split("\n"))
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

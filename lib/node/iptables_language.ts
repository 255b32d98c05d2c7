/**
 * What is told to iptables-restore, and what it and iptables-save print.
 *
 * @module
 */
import { CHAINS, type Rule, type Table } from "../desired/rules.ts";
import type { Repair } from "./tool.ts";

/** With --verbose, iptables-restore prints the comments of its input, which marks the end of a listing. */
export const END = "# end of listing";

/** One of the chains that hold rules of this program. */
export interface Chain {
  readonly table: Table;
  readonly chain: string;
}

/** A chain as listed: the specs of its rules as printed, from the top. */
export interface Listed extends Chain {
  readonly specs: readonly string[];
}

/** The chains that some rules stand in, in the order in which they are listed. */
export function chainsOf(rules: readonly Rule[]): readonly Chain[] {
  return (Object.keys(CHAINS) as Table[]).flatMap((table) =>
    CHAINS[table].filter((chain) => rules.some((rule) => rule.table === table && rule.chain === chain))
      .map((chain) => ({ table, chain }))
  );
}

/** Commands as input of iptables-restore: one transaction for each run of commands in one table. */
export function transactions(commands: readonly Repair[]): string {
  return (Object.keys(CHAINS) as Table[]).map((table) => {
    const lines = commands.filter((command) => command.table === table).map(({ command }) => `${command}\n`);
    return lines.length === 0 ? "" : `*${table}\n${lines.join("")}COMMIT\n`;
  }).join("");
}

/** Whether the answer to a request that ends with {@linkcode END} is whole. A comment of a rule may hold that text too. */
export function isWhole(listing: string): boolean {
  return listing.endsWith(`${END}\n`) && linesOf(listing).at(-1) === END;
}

/** Reads the answer to `-S` of some chains. @throws {SyntaxError} if a chain is missing */
export function parseListing(listing: string, chains: readonly Chain[]): readonly Listed[] {
  const found: { readonly chain: Chain; readonly lines: string[] }[] = [];
  for (const line of linesOf(listing)) {
    const next = chains[found.length];
    if (next !== undefined && line.startsWith(`-P ${next.chain} `)) found.push({ chain: next, lines: [] });
    else found.at(-1)?.lines.push(line);
  }
  if (found.length !== chains.length) {
    throw new SyntaxError(`Cannot read the listing of iptables: ${found.length} chains instead of ${chains.length}`);
  }
  return found.map(({ chain, lines }) => ({ ...chain, specs: specsOf(chain, lines) }));
}

/** Reads what iptables-save printed; a chain that is not there has no rules. */
export function parseSaved(saved: string, chains: readonly Chain[]): readonly Listed[] {
  const lines = linesOf(saved);
  return chains.map((chain) => {
    const from = lines.indexOf(`*${chain.table}`);
    const table = from < 0 ? [] : lines.slice(from, lines.indexOf("COMMIT", from));
    return { ...chain, specs: specsOf(chain, table) };
  });
}

// The value of these is whatever somebody wrote, newlines included; iptables prints it in quotes, with \" and \\ in it.
const QUOTED_TEXT = / --(?:comment|helper|log-prefix|nflog-prefix|ulog-prefix|string|path) "(?:[^"\\]|\\[^])*"?|\n/g;

/** The lines of a listing, where a newline in a quoted text ends none. */
export function linesOf(text: string): readonly string[] {
  const lines: string[] = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(QUOTED_TEXT)) {
    if (found !== "\n") continue;
    lines.push(text.slice(from, index));
    from = index + 1;
  }
  return lines;
}

/** The specs of the rules of one chain. */
function specsOf({ chain }: Chain, lines: readonly string[]): readonly string[] {
  const prefix = `-A ${chain} `;
  const specs: string[] = [];
  for (const line of lines) {
    if (line.startsWith(prefix)) specs.push(line.slice(prefix.length));
    // Names (of interfaces, chains, sets) are printed without quotes: what begins like nothing else is the rest of one.
    else if (specs.length > 0 && !/^(?:-[APN] |#|:|COMMIT$)/.test(line)) specs.push(`${specs.pop()}\n${line}`);
  }
  return specs;
}

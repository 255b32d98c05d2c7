/**
 * Chains of iptables-nft that are not there yet, as after a start, or when the owner of a table deletes it to make it anew.
 *
 * iptables-nft makes a chain that it misses with the policy ACCEPT. When somebody makes that chain with the policy DROP while it is
 * about to, it sends its own once more, and the policy is ACCEPT. nft names none: a chain that is there keeps the one that it has.
 *
 * @module
 */
import { CHAINS, type Table } from "../desired/rules.ts";
import type { Finding, Preparation } from "./tool.ts";

/** Of the chains that iptables makes, for netfilter. */
const PRIORITIES: Readonly<Record<Table, number>> = { raw: -300, filter: 0 };

/**
 * Answers each line when it has read it. A process that ends would have to wait until the kernel has freed what others
 * deleted: 15 ms.
 */
const NFT = ["nft", "--interactive"] as const;
/** Asks nothing of the kernel … */
const MARK = "describe tcp dport\n";
/** … and is answered so, by nft 0.9.8 to 1.1.3. */
const MARKED = /\b16 bits$/m;

/**
 * What makes the chains that may be missing, as iptables would. It asks first: naming a table that is there would wake it if it
 * is dormant, so that a table is only ever created; and when that fails, the kernel takes 8 to 16 ms to undo it. It asks for
 * single chains, which takes nft no longer among 20,000 others.
 */
export function creation(family: 4 | 6, findings: readonly Finding[]): Preparation | undefined {
  const tables = new Set(findings.flatMap(({ item, isBare }) => isBare && item.kind === "rule" ? [item.table] : []));
  if (tables.size === 0) return undefined;
  const places = [...tables].map((table) => ({ ip: family === 4 ? "ip" : "ip6", table, chains: CHAINS[table] }));
  const questions = places.flatMap(({ ip, table, chains }) =>
    chains.map((chain) => `list chain ${ip} ${table} ${chain}`)
  );
  return {
    argv: NFT,
    look: `${questions.join("\n")}\n${MARK}`,
    answered: ({ stdout }) => MARKED.test(stdout),
    script(listing) {
      const lines = places.flatMap(({ ip, table, chains }) => {
        const missing = chains.filter((chain) => !listing.includes(`table ${ip} ${table} {\n\tchain ${chain} {`));
        const additions = missing.map((chain) => addition(ip, table, chain)).join("; ");
        if (missing.length === 0) return [];
        // Not in one transaction: the table may be there, without chains.
        return missing.length < chains.length ? [additions] : [`create table ${ip} ${table}`, additions];
      });
      return lines.length === 0 ? "" : `${lines.join("\n")}\n${MARK}`;
    },
  };
}

function addition(ip: string, table: Table, chain: string): string {
  return `add chain ${ip} ${table} ${chain} { type filter hook ${chain.toLowerCase()} priority ${PRIORITIES[table]}; }`;
}

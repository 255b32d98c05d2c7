/**
 * Tables of iptables-nft that are not there yet, as after a start, or when their owner deletes them to make them anew.
 *
 * iptables-nft makes a chain that it misses with the policy ACCEPT. When somebody makes that chain with the policy DROP while it is
 * about to, it sends its own once more, and the policy is ACCEPT. nft names none: a chain that is there keeps the one that it has.
 *
 * @module
 */
import { CHAINS, type Table } from "../desired/rules.ts";
import type { Finding } from "./tool.ts";

/** Of the chains that iptables makes, for netfilter. */
const PRIORITIES: Readonly<Record<Table, number>> = { raw: -300, filter: 0 };

/**
 * Command lines that make the tables that may be missing, as iptables would. One fails, and changes nothing, if its table is
 * there: naming a table again would wake it if it is dormant.
 */
export function creations(family: 4 | 6, findings: readonly Finding[]): readonly (readonly string[])[] {
  const tables = new Set(findings.flatMap(({ item, isBare }) => isBare && item.kind === "rule" ? [item.table] : []));
  return [...tables].map((table) => {
    const place = `${family === 4 ? "ip" : "ip6"} ${table}`;
    const chains = CHAINS[table].map((chain) =>
      `add chain ${place} ${chain} { type filter hook ${chain.toLowerCase()} priority ${PRIORITIES[table]}; }`
    );
    return ["nft", [`create table ${place}`, ...chains].join("; ")];
  });
}

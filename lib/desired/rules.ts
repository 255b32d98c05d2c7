import type { IpAddress } from "../ip.ts";

/** Tables and built-in chains that hold rules of this program. */
export const CHAINS = { raw: ["PREROUTING", "OUTPUT"], filter: ["INPUT", "OUTPUT"] } as const;

/** A table of {@linkcode CHAINS}. */
export type Table = keyof typeof CHAINS;

/** An iptables (family 4) or ip6tables (family 6) rule. */
export interface Rule {
  readonly kind: "rule";
  readonly family: 4 | 6;
  readonly table: Table;
  readonly chain: typeof CHAINS[Table][number];
  /** Match and target, as `iptables -S` prints them. */
  readonly spec: string;
}

/**
 * The rules that let the traffic of one address and port pass untracked, in the order in which they stand.
 *
 * The specs are written in the form in which `iptables -S` of 1.8 prints them back, since that is how a rule is recognised.
 *
 * @param ip Address that the proxy listens on.
 * @param port TCP port that it listens on.
 */
export function rules({ family, ip }: IpAddress, port: number): readonly Rule[] {
  const bits = family === 4 ? 32 : 128;
  const requests = `-d ${ip}/${bits} -p tcp -m tcp --dport ${port}`;
  const answers = `-s ${ip}/${bits} -p tcp -m tcp --sport ${port}`;
  const table = [
    // Requests of pods: the address is local to the machine, so their state is never needed.
    ["raw", "PREROUTING", requests, "NOTRACK"],
    // Requests of the node itself are born here and never see PREROUTING untracked.
    ["raw", "OUTPUT", requests, "NOTRACK"],
    // Answers, or each of them would open an entry of its own.
    ["raw", "OUTPUT", answers, "NOTRACK"],
    // An untracked packet is not ESTABLISHED, so a default-drop firewall needs to be told: requests in …
    ["filter", "INPUT", requests, "ACCEPT"],
    // … and answers out.
    ["filter", "OUTPUT", answers, "ACCEPT"],
  ] as const;
  return table.map(([name, chain, match, target]) => ({
    kind: "rule",
    family,
    table: name,
    chain,
    spec: `${match} -j ${target}`,
  }));
}

/**
 * Test equipment: the firewall of a node.
 *
 * @module
 */
import { APISERVER_PORT, BRIDGE, METRICS_PORT } from "./topology.ts";

/** The families with their programs, and their names in the language of nft. */
export const FAMILIES = [
  { key: "v4", iptables: "iptables-nft", nft: "ip" },
  { key: "v6", iptables: "ip6tables-nft", nft: "ip6" },
] as const;

/** One of {@linkcode FAMILIES}. */
export type Family = typeof FAMILIES[number];

/**
 * What an operator has in /etc/iptables: everything is dropped but what is local, what is known, and what the node needs. It is
 * the ESTABLISHED match that makes the kernel track connections.
 */
export function firewall({ key }: Family): string {
  return `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s ${BRIDGE[key]} -p tcp -m tcp --dport ${METRICS_PORT} -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -p tcp -m tcp --dport ${APISERVER_PORT} -j ACCEPT
${key === "v6" ? "-A INPUT -p ipv6-icmp -j ACCEPT\n-A OUTPUT -p ipv6-icmp -j ACCEPT\n" : ""}COMMIT
`;
}

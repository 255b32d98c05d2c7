/**
 * What others have on the node: links, addresses, routes, and rules that are nearly those of the program. None of it may
 * ever change by its doing.
 *
 * @module
 */
import type { Namespace } from "../support/namespace.ts";
import type { Backend } from "../support/program.ts";

/** The addresses that the program keeps, of both families. */
export const OURS = { 4: "10.96.0.2", 6: "fd00:96::2" } as const;
/** A family of addresses. */
export type Family = keyof typeof OURS;
/** Both. */
export const FAMILIES: readonly Family[] = [4, 6];

/** Tables in which the program keeps rules, and the chains of each. */
export const CHAINS = { raw: ["PREROUTING", "OUTPUT"], filter: ["INPUT", "OUTPUT"] } as const;
/** One of them. */
export type Table = keyof typeof CHAINS;
/** Both. */
export const TABLES = Object.keys(CHAINS) as readonly Table[];

/** A link of somebody else's. */
export const FOREIGN_LINK = "br0";
/** What it is also called: longer than any name of an interface. */
export const ALTERNATIVE_NAME = "uplink-of-the-machine-by-its-place-0000:00:1f.6".replaceAll(":", "-");
/** Another one, which the program has nothing to do with. */
export const OTHER_LINK = "br1";

/** Lines of `ip -batch`, with -force: what is there already stays as it is. */
const LINKS = [
  ...[[FOREIGN_LINK, 70], [OTHER_LINK, 71]].flatMap(([name, index]) => [
    `link add ${name} index ${index} address 02:00:00:00:00:${index} type bridge`,
    `link set ${name} addrgenmode none`,
    `link set ${name} up`,
  ]),
  `link property add dev ${FOREIGN_LINK} altname ${ALTERNATIVE_NAME}`,
  `address add 192.0.2.1/24 dev ${FOREIGN_LINK} broadcast 192.0.2.255`,
  `address add 192.0.2.7/24 dev ${FOREIGN_LINK} broadcast 192.0.2.255`,
  `address add 2001:db8::1/64 dev ${FOREIGN_LINK} nodad`,
  `address add 10.96.0.20/32 dev ${OTHER_LINK}`,
  `address add fd00:96::20/128 dev ${OTHER_LINK} nodad`,
  "address add 10.96.0.3/32 dev lo",
  "address add fd00:96::3/128 dev lo nodad",
  `route add 198.51.100.0/24 via 192.0.2.2 dev ${FOREIGN_LINK}`,
  `route add 10.96.0.0/12 dev ${OTHER_LINK}`,
  "address add 127.0.0.1/8 dev lo scope host",
];

/** Rules of a table, as iptables-save prints them. */
function rules(family: Family, table: Table): readonly string[] {
  const ip = OURS[family];
  const near = family === 4 ? "10.96.0.20" : "fd00:96::20";
  return table === "raw"
    ? [
      "-A PREROUTING -j FOREIGN",
      `-A PREROUTING -d ${ip} -p udp -m udp --dport 443 -j NOTRACK`,
      `-A OUTPUT -d ${near} -p tcp -m tcp --dport 443 -j NOTRACK`,
      `-A OUTPUT -s ${ip} -p tcp -m tcp --sport 4430 -j NOTRACK`,
      `-A FOREIGN -d ${ip} -p tcp -m tcp --dport 443 -j NOTRACK`,
    ]
    : [
      "-A INPUT -j FOREIGN",
      `-A INPUT -d ${ip} -p tcp -m tcp --dport 443 -m comment --comment "not this one" -j ACCEPT`,
      `-A OUTPUT -s ${ip} -p tcp -m tcp --sport 443 -j DROP`,
      `-A FOREIGN -s ${near} -j DROP`,
    ];
}

/** A table that no iptables sees. */
const NFT_TABLE =
  "table inet foreign { chain output { type filter hook output priority -300; tcp dport 443 notrack; }; }";

/** Puts links, addresses and routes (back) where they belong. */
export async function putLinks(namespace: Namespace): Promise<void> {
  // A line that finds its work done fails.
  await namespace.run(["ip", "-force", "-batch", "-"], { stdin: `${LINKS.join("\n")}\n` });
}

/** Puts the rules of some chains back after their loss; by default of all chains of some tables. */
export async function putRules(
  namespace: Namespace,
  backend: Backend,
  family: Family,
  { tables = TABLES, chain }: { readonly tables?: readonly Table[]; readonly chain?: string } = {},
): Promise<void> {
  const program = `${family === 4 ? "iptables" : "ip6tables"}-${backend}-restore`;
  await namespace.ok([program, "--noflush", ...backend === "legacy" ? ["--wait"] : []], {
    stdin: savedRules(family, { tables, chain }),
  });
}

/** The rules of some tables, or of one chain of them, as iptables-restore takes them; by default all. */
export function savedRules(
  family: Family,
  { tables = TABLES, chain }: { readonly tables?: readonly Table[]; readonly chain?: string | undefined } = {},
): string {
  return tables.map((table) => {
    const own = rules(family, table).filter((rule) => chain === undefined || rule.startsWith(`-A ${chain} `));
    const declared = chain === undefined
      ? [":FOREIGN - [0:0]", ...table === "filter" ? [":INPUT DROP [0:0]"] : []]
      : [];
    return [`*${table}`, ...declared, ...own, "COMMIT\n"].join("\n");
  }).join("");
}

/** Puts the table that is nobody's business. */
export async function putNftTable(namespace: Namespace): Promise<void> {
  await namespace.ok(["nft", "-f", "-"], { stdin: `${NFT_TABLE}\n` });
}

/** Puts everything where nothing is. */
export async function putAll(namespace: Namespace, backend: Backend): Promise<void> {
  await putLinks(namespace);
  for (const family of FAMILIES) await putRules(namespace, backend, family);
  await putNftTable(namespace);
}

/**
 * Reads what `ip -json -details address show` lists: links and the addresses on them.
 *
 * Aliases, labels and names are texts that any program on the node may write, with any byte in them but zero.
 *
 * @module
 */
import { canonicalIp } from "../ip.ts";

/** The alias (`ip link set … alias`) of a link that this program created, and may therefore remove. */
export const LINK_ALIAS = "apiserver-proxy-sidecar";

/**
 * The group (`ip link add … group`) of a link that this program creates, until it has its alias: the kernel sets a group as it
 * creates a link, but an alias only afterwards, and a process may be killed in between.
 */
export const LINK_GROUP = "10968";

/** An address that `ip` lists. */
export interface ListedAddress {
  readonly ip: string;
  readonly prefixLength: number;
  readonly scope: string;
  readonly broadcast: string | undefined;
  /** The other end, of a point-to-point address. */
  readonly peer: string | undefined;
  /** Neither expires nor will be deprecated. */
  readonly permanent: boolean;
  /** Not for new connections. */
  readonly deprecated: boolean;
  /** Goes when the primary address of its subnet goes. */
  readonly secondary: boolean;
  /** IPv6 does not use it yet; for ever where the link has no carrier. */
  readonly tentative: boolean;
  /** IPv6 found it in use elsewhere and does not use it. */
  readonly dadFailed: boolean;
}

/** A link that `ip` lists. */
export interface ListedLink {
  /** As `ip` takes it on the command line. */
  readonly device: string;
  /** Its name and its alternative names. */
  readonly names: readonly string[];
  readonly up: boolean;
  readonly loopback: boolean;
  /** This program created it. */
  readonly ours: boolean;
  /** It has the alias by which that is known. */
  readonly marked: boolean;
  /** Those that were asked for. */
  readonly addresses: readonly ListedAddress[];
}

/** What is read of a link. */
interface JsonLink {
  readonly ifindex?: number;
  readonly ifname?: string;
  readonly altnames?: readonly string[];
  readonly flags?: readonly string[];
  readonly group?: string;
  readonly ifalias?: string;
  readonly addr_info?: readonly JsonAddress[];
}

interface JsonAddress {
  readonly local?: string;
  /** The other end of a point-to-point address. */
  readonly address?: string;
  readonly prefixlen?: number;
  readonly scope?: string;
  readonly broadcast?: string;
  readonly secondary?: boolean;
  readonly tentative?: boolean;
  readonly dadfailed?: boolean;
  readonly deprecated?: boolean;
  readonly valid_life_time?: number;
  readonly preferred_life_time?: number;
}

/** A lifetime that never ends (INFINITY_LIFE_TIME of the kernel). */
const FOREVER = 0xffff_ffff;

/** A string of JSON, whole or cut off. */
const STRING = /"(?:[^"\\]|\\.?)*(?:"|$)/gs;

/** How many of its questions `ip` has answered. Each answer is one line, but for line feeds in texts. */
export function countAnswers(stdout: string): number {
  return stdout.replaceAll(STRING, "").split("\n").length - 1;
}

/**
 * Reads the answers to several questions as one listing: a link that comes in more than one answer has the addresses of all.
 *
 * @throws {SyntaxError} If they cannot be read.
 */
export function parseLinks(listing: string): readonly ListedLink[] {
  // A line feed ends an answer, or stands in a text, where a comma does as well. Before 6.1 iproute2 writes `\'` into strings.
  const json = listing.replaceAll(
    /\\.|\p{Cc}/gsu,
    (found) => found === "\n" ? "," : found === "\\'" ? "'" : found.startsWith("\\") ? found : " ",
  );
  const answers: unknown = JSON.parse(`[${json}[]]`);
  if (!Array.isArray(answers) || !answers.every(Array.isArray)) {
    throw new SyntaxError("Cannot read the listing of ip: it is no list of lists");
  }
  const found = new Map<number, { readonly link: JsonLink; readonly addresses: Map<string, ListedAddress> }>();
  for (const link of answers.flat() as readonly JsonLink[]) {
    // iproute2 leaves `{}` for what a filter hides.
    if (link.ifindex === undefined) continue;
    const { addresses } = found.get(link.ifindex) ?? { addresses: new Map() };
    found.set(link.ifindex, { link, addresses });
    for (const info of link.addr_info ?? []) {
      if (info.local === undefined) continue;
      const { local, prefixlen, address } = info;
      addresses.set([local, prefixlen, address].join(" "), listedAddress({ ...info, local }));
    }
  }
  return [...found.values()].map(({ link, addresses }) => listedLink(link, [...addresses.values()]));
}

function listedLink(
  { ifindex, ifname = "", altnames = [], flags = [], group, ifalias }: JsonLink,
  addresses: ListedLink["addresses"],
): ListedLink {
  return {
    // What a line of `ip -batch` takes for a quote, a comment or the end of a word is told by its index.
    device: /^[\w.:@-]+$/.test(ifname) ? ifname : `if${ifindex}`,
    names: [ifname, ...altnames],
    up: flags.includes("UP"),
    loopback: flags.includes("LOOPBACK"),
    ours: ifalias === LINK_ALIAS || (ifalias === undefined && group === LINK_GROUP),
    marked: ifalias === LINK_ALIAS,
    addresses,
  };
}

function listedAddress(info: JsonAddress & { readonly local: string }): ListedAddress {
  return {
    ip: canonicalIp(info.local),
    prefixLength: info.prefixlen ?? 0,
    scope: info.scope ?? "global",
    broadcast: info.broadcast,
    peer: info.address,
    permanent: info.valid_life_time === FOREVER && (info.preferred_life_time === FOREVER || info.deprecated === true),
    deprecated: info.deprecated === true,
    secondary: info.secondary === true,
    tentative: info.tentative === true,
    dadFailed: info.dadfailed === true,
  };
}

/**
 * Addresses and the link that carries them, through one `ip -batch` process.
 *
 * @module
 */
import type { Scope } from "../config/config.ts";
import { type Address, type Desired, fullPrefix } from "../desired/desired.ts";
import { classify, CommandError } from "./command_error.ts";
import { canonicalIp, inSameSubnet } from "../ip.ts";
import type { Finding, Repair, Tool } from "./tool.ts";

/** The alias (`ip link set … alias`) of a link that this program created, and may therefore remove. */
export const LINK_ALIAS = "apiserver-proxy-sidecar";

const NO_DUMMY =
  "the interface does not exist, and the kernel has no links of type dummy to create it: load the module " +
  "dummy, or give --interface one that exists";
const NO_IPV6 = "IPv6 is off in the kernel, or on the interface (sysctl net.ipv6.conf.*.disable_ipv6)";

/** An address that `ip` lists. */
interface ListedAddress {
  readonly ip: string;
  readonly prefixLength: number;
  readonly scope: string;
  readonly broadcast: string | undefined;
  /** Never expires and is not deprecated. */
  readonly permanent: boolean;
  /** Goes when the primary address of its subnet goes. */
  readonly secondary: boolean;
  /** Of a point-to-point link: never one of ours. */
  readonly peer: boolean;
  /** IPv6 found the address in use elsewhere and does not use it. */
  readonly dadFailed: boolean;
}

interface ListedLink {
  readonly name: string;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly ours: boolean;
  readonly addresses: readonly ListedAddress[];
}

/** Options for {@linkcode addressTool}. */
export interface AddressToolOptions {
  /** Type of a link that has to be created. @default {"dummy"} */
  readonly linkType?: string | undefined;
  /** Whether a link that is missing is somebody else's to create. @default {false} */
  readonly waitForLink?: boolean;
  /** Whether an address has been on the link for so long that it can be removed elsewhere. @default {() => true} */
  readonly settled?: (address: Address) => boolean;
}

/**
 * The tool that keeps the addresses and their link.
 *
 * @param desired Its rules are not looked at.
 */
export function addressTool(desired: Desired, options: AddressToolOptions = {}): Tool {
  const { link, addresses, deduplicate } = desired;
  // Listing one link spares a node with thousands of service addresses elsewhere (IPVS) from being read through.
  // `lo` is never ours, and the only name that is sure to exist.
  const everywhere = link.name !== "lo" || deduplicate === true;
  const look = everywhere ? "address show\n" : "address show dev lo\n";
  return {
    argv: ["ip", "-json", "-details", "-force", "-batch", "-"],
    items: [link, ...addresses],
    look,
    // Without a listing when all failed, the look too: its interface is not there.
    answered: (stdout, stderr, lines) => stdout.endsWith("\n") || stderr.split("Command failed").length > lines,
    judge: (listing) => judge(desired, options, parse(listing)),
    script: (findings) => findings.flatMap(({ repairs }) => repairs.map(({ command }) => `${command}\n`)).join(""),
    // `ip` remembers which index a name had. A link that was deleted and made again, by whomever, has another one.
    isStale: (findings) => link.name !== "lo" && findings.some(({ repairs }) => repairs.length > 0),
    shell: ({ command }) => `ip ${command}`,
    blame,
    parts: () => [],
  };
}

/** `ip -force -batch` goes on after a line that failed, and says `Command failed -:LINE` behind its error. */
function blame(
  error: CommandError,
  told: Parameters<Tool["blame"]>[1],
  linesBefore: number,
): ReturnType<Tool["blame"]> {
  const blamed = new Map<Finding["item"], CommandError>();
  for (const [, text = "", line] of error.stderr.matchAll(/((?:(?!Command failed).*\n)*)Command failed .*:(\d+)\n?/g)) {
    const item = told[Number(line) - linesBefore - 1];
    if (item === undefined || blamed.has(item)) continue;
    const kind = classify(text);
    const said = text.trim().replaceAll("\n", "; ");
    const failure = { kind, said, ...kind === "unsupported" && { remedy: item.kind === "link" ? NO_DUMMY : NO_IPV6 } };
    blamed.set(item, new CommandError(error.argv, failure, error.code, text));
  }
  return blamed;
}

/** What is read of `ip -json -details address show`. */
interface JsonLink {
  readonly ifname?: string;
  readonly flags?: readonly string[];
  readonly ifalias?: string;
  readonly addr_info?: readonly {
    readonly local?: string;
    /** The other end of a point-to-point address. */
    readonly address?: string;
    readonly prefixlen?: number;
    readonly scope?: string;
    readonly broadcast?: string;
    readonly secondary?: boolean;
    readonly dadfailed?: boolean;
    readonly valid_life_time?: number;
    readonly preferred_life_time?: number;
  }[];
}

/** A lifetime that never ends (INFINITY_LIFE_TIME of the kernel). */
const FOREVER = 0xffff_ffff;

function parse(listing: string): readonly ListedLink[] {
  const links: readonly JsonLink[] = listing.trim() === "" ? [] : JSON.parse(listing);
  if (!Array.isArray(links)) throw new SyntaxError("Cannot read the listing of ip: it is no list");
  return (links as readonly JsonLink[]).flatMap(({ ifname, flags = [], ifalias, addr_info = [] }) =>
    // iproute2 leaves `{}` for what a filter hides.
    ifname === undefined ? [] : [{
      name: ifname,
      up: flags.includes("UP"),
      loopback: flags.includes("LOOPBACK"),
      ours: ifalias === LINK_ALIAS,
      addresses: addr_info.flatMap((info) =>
        info.local === undefined ? [] : [{
          ip: canonicalIp(info.local),
          prefixLength: info.prefixlen ?? 0,
          scope: info.scope ?? "global",
          broadcast: info.broadcast,
          permanent: info.valid_life_time === FOREVER && info.preferred_life_time === FOREVER,
          secondary: info.secondary === true,
          peer: info.address !== undefined,
          dadFailed: info.dadfailed === true,
        }]
      ),
    }]
  );
}

function judge(desired: Desired, options: AddressToolOptions, links: readonly ListedLink[]): readonly Finding[] {
  const { want, addresses } = desired;
  const { waitForLink = false } = options;
  const link = links.find(({ name }) => name === desired.link.name);
  const others = links.filter((other) =>
    other !== link &&
    (desired.deduplicate === true ||
      (desired.deduplicate === "auto" && (link?.ours ?? (want === "present" && !waitForLink))))
  );
  if (want === "present") {
    return [
      judgeLink(desired, options, link),
      ...addresses.map((address) => judgeAddress(address, link, others, options)),
    ];
  }
  const carriers = link === undefined ? others : [link, ...others];
  return [...addresses.map((address) => judgeUnwanted(address, carriers)), judgeUnwantedLink(desired, link)];
}

function judgeLink({ link: item }: Desired, options: AddressToolOptions, link: ListedLink | undefined): Finding {
  const { linkType = "dummy", waitForLink = false } = options;
  const device = item.name;
  if (link === undefined) {
    return {
      item,
      state: "missing",
      ok: false,
      ...waitForLink && { detail: "missing, and waited for: it was not this program's" },
      verb: "created",
      repairs: waitForLink ? [] : [
        { command: `link add name ${device} type ${linkType}` },
        { command: `link set dev ${device} alias ${LINK_ALIAS} up` },
      ],
    };
  }
  const { up, ours } = link;
  if (up) return { item, state: "present", ok: true, ours, repairs: [] };
  return {
    item,
    state: "wrong",
    ok: false,
    ours,
    detail: ours ? "down" : "down, and not this program's to bring up",
    verb: "brought up",
    repairs: ours ? [{ command: `link set dev ${device} up` }] : [],
  };
}

function judgeAddress(
  item: Address,
  link: ListedLink | undefined,
  others: readonly ListedLink[],
  { settled = () => true }: AddressToolOptions,
): Finding {
  const device = item.link;
  const full = fullPrefix(item.family);
  const address = `${item.ip}/${full} dev ${device}`;
  const scope: Scope = item.scope !== "auto" ? item.scope : link?.loopback ? "host" : "global";
  // IPv6 derives the scope from the address. Without nodad an address is unusable for a second where the link is not lo.
  const options = item.family === 4 ? ` scope ${scope}` : " nodad";
  const add: Repair = { command: `address add ${address}${options}` };

  const found = (link?.addresses ?? []).filter(({ ip, peer }) => ip === item.ip && !peer);
  // A link has an IPv6 address once, whatever its prefix length: the right one cannot be added beside a wrong one.
  const exact = found.find(({ prefixLength }) => prefixLength === full) ?? (item.family === 6 ? found[0] : undefined);
  const inexact = found.filter((other) => other !== exact);
  const faults = exact === undefined ? [] : [
    ...exact.prefixLength === full ? [] : [`prefix length ${exact.prefixLength}`],
    ...exact.broadcast === undefined ? [] : [`broadcast ${exact.broadcast}`],
    ...item.family === 6 || exact.scope === scope ? [] : [`scope ${exact.scope}`],
    ...exact.dadFailed ? ["duplicate address detection failed"] : [],
  ];
  const expiring = exact !== undefined && !exact.permanent;
  // `address replace` changes lifetimes and nothing else; the rest needs an absence of some 0.1 ms, within one batch.
  const put: readonly Repair[] = exact === undefined
    ? [add]
    : faults.length > 0
    ? [removal(item, exact.prefixLength, device), add]
    : expiring
    ? [{ command: `address replace ${address}${options} valid_lft forever preferred_lft forever` }]
    : [];
  const surplus = [
    // Removing the primary address of a subnet removes the others of it, which are not ours.
    ...inexact.filter(({ prefixLength, secondary }) =>
      secondary ||
      !link?.addresses.some((other) =>
        other.secondary && other.prefixLength === prefixLength && inSameSubnet(other.ip, item.ip, prefixLength)
      )
    ).map(({ prefixLength }) => ({ prefixLength, device })),
    ...others.flatMap(({ name, addresses }) =>
      addresses.filter((other) => other.ip === item.ip && other.prefixLength === full && !other.peer)
        .map(({ prefixLength }) => ({ prefixLength, device: name }))
    ),
  ];
  const isSettled = surplus.length === 0 || item.family === 4 || settled(item);
  const details = [
    ...faults,
    ...expiring ? ["expires"] : [],
    ...surplus.map(({ prefixLength, device }) => `also as /${prefixLength} on ${device}`),
  ];
  const state = exact === undefined
    ? "missing"
    : faults.length > 0 || expiring
    ? "wrong"
    : surplus.length > 0
    ? "surplus"
    : "present";
  return {
    item,
    state,
    ok: state === "present",
    ...(details.length > 0 && { detail: details.join(", ") }),
    verb: state === "missing" ? "added" : state === "wrong" ? "replaced" : "brought back to one",
    // Removed elsewhere only after a look has shown it here, or it would be nowhere if adding it failed.
    ...put.length > 0
      ? { repairs: put }
      : isSettled
      ? { repairs: surplus.map((other) => removal(item, other.prefixLength, other.device)) }
      : { repairs: [], pending: true },
  };
}

function removal({ ip }: Address, prefixLength: number, device: string): Repair {
  return { command: `address del ${ip}/${prefixLength} dev ${device}` };
}

function judgeUnwanted(item: Address, links: readonly ListedLink[]): Finding {
  const repairs = links.flatMap(({ name, addresses }) =>
    addresses.filter(({ ip, prefixLength, peer }) =>
      ip === item.ip && prefixLength === fullPrefix(item.family) && !peer
    )
      .map(({ prefixLength }) => removal(item, prefixLength, name))
  );
  return {
    item,
    state: repairs.length === 0 ? "missing" : "present",
    ok: repairs.length === 0,
    verb: "removed",
    repairs,
  };
}

function judgeUnwantedLink({ link: item, addresses }: Desired, link: ListedLink | undefined): Finding {
  if (link === undefined || !link.ours) {
    return { item, state: link === undefined ? "missing" : "present", ok: true, repairs: [] };
  }
  // Others may have put theirs on our link; the kernel itself puts a link-local one of IPv6 on each.
  const foreign = link.addresses.filter(({ ip }) => !ip.startsWith("fe80:") && !addresses.some((own) => own.ip === ip));
  if (foreign.length > 0) {
    return { item, state: "present", ok: true, detail: `kept, since it carries ${foreign[0]?.ip}`, repairs: [] };
  }
  return { item, state: "present", ok: false, verb: "removed", repairs: [{ command: `link del dev ${item.name}` }] };
}

import type { AddressScope } from "../ip.ts";
import { type Address, fullPrefix } from "../desired/desired.ts";
import { inSameSubnet } from "../ip.ts";
import type { ListedAddress, ListedLink } from "./link.ts";
import type { Finding, Repair } from "./tool.ts";

/** An address and the link that it stands on. */
export interface Place extends ListedAddress {
  readonly link: ListedLink;
}

/** Options for {@linkcode judgeAddress}. */
export interface JudgeAddressOptions {
  /**
   * Whether all addresses of the link are known. If not, the same address with another prefix length is found, but not known
   * to be one without which others go, too.
   */
  readonly full: boolean;
  /** Whether an address has been on the link for so long that it can be removed elsewhere. */
  readonly settled: (address: Address) => boolean;
}

/** Whether an address stands as it is to: /32 or /128. */
export function isExact({ prefixLength, peer }: ListedAddress, { family }: Address): boolean {
  return prefixLength === fullPrefix(family) && peer === undefined;
}

/** How an address stands on its link, and elsewhere. */
interface Standing {
  /** What counts as the address, as it is or to be put right. */
  readonly current: Place | undefined;
  /** The address with a shorter prefix, or another end, on a link of somebody else's: the node's own, which the node needs. */
  readonly own: Place | undefined;
  /** What can only be put right by removing and adding. */
  readonly faults: readonly string[];
  /** What will not last, which can be put right in place. */
  readonly passing: readonly string[];
  /** The same address once more. */
  readonly surplus: readonly Place[];
}

function standing(
  item: Address,
  scope: AddressScope,
  link: ListedLink | undefined,
  places: readonly Place[],
  full: boolean,
): Standing {
  const here = places.filter((place) => place.link === link);
  const isForeign = link !== undefined && !link.loopback && !link.ours;
  const own = isForeign ? here.find((place) => !isExact(place, item)) : undefined;
  // A link has an IPv6 address once, whatever its prefix length: the right one cannot be added beside a wrong one.
  const current = here.find((place) => isExact(place, item)) ?? own ?? (item.family === 6 ? here[0] : undefined);
  const surplus = places.filter((place) =>
    place !== current && (place.link !== link || (!isForeign && !(full && takesOthersAlong(place))))
  );
  if (current === undefined) return { current, own, faults: [], passing: [], surplus };
  const unusable = [
    ...current.tentative ? ["tentative"] : [],
    ...current.dadFailed ? ["duplicate address detection failed (dadfailed)"] : [],
  ];
  if (current === own) return { current, own, faults: unusable, passing: [], surplus };
  const faults = [
    ...current.prefixLength === fullPrefix(item.family) ? [] : [`prefix length ${current.prefixLength}`],
    ...current.peer === undefined ? [] : [`peer ${current.peer}`],
    ...current.broadcast === undefined ? [] : [`broadcast ${current.broadcast}`],
    ...item.family === 6 || current.scope === scope ? [] : [`scope ${current.scope}`],
    ...unusable,
  ];
  const passing = [...current.permanent ? [] : ["expires"], ...current.deprecated ? ["deprecated"] : []];
  return { current, own, faults, passing, surplus };
}

/** Removing the primary address of a subnet removes the others of it, which are not ours. */
function takesOthersAlong({ link, ip, prefixLength, secondary }: Place): boolean {
  return !secondary &&
    link.addresses.some((other) =>
      other.secondary && other.prefixLength === prefixLength && inSameSubnet(other.peer ?? other.ip, ip, prefixLength)
    );
}

/**
 * Judges an address that is to be there.
 *
 * @param places Where it stands on its link, and where else it is not to stand.
 */
export function judgeAddress(
  item: Address,
  link: ListedLink | undefined,
  places: readonly Place[],
  { full, settled }: JudgeAddressOptions,
): Finding {
  const scope: AddressScope = item.scope !== "auto" ? item.scope : link?.loopback ? "host" : "global";
  const { current, own, faults, passing, surplus } = standing(item, scope, link, places, full);
  const state = current === undefined
    ? "missing"
    : faults.length + passing.length > 0
    ? "wrong"
    : surplus.length > 0
    ? "surplus"
    : "present";
  const isReplaced = state === "wrong" && current !== undefined && current !== own && !isExact(current, item);
  const removes = [...isReplaced ? [current] : [], ...surplus].map(placeName);
  const details = [
    ...faults,
    ...passing,
    ...own === undefined ? [] : [`as ${lengthOf(own)}, the node's own`],
    ...surplus.map((place) => `also as ${lengthOf(place)} on ${place.link.device}`),
  ];
  return {
    item,
    state,
    ok: state === "present",
    ...details.length > 0 && { detail: details.join(", ") },
    ...own !== undefined && { warning: `The node's own ${placeName(own)} counts as present, and is left as it is` },
    ...removes.length > 0 && { removes },
    verb: state === "missing" ? "added" : state === "wrong" ? "replaced" : "brought back to one",
    // Removed elsewhere only after a look has shown it here, or it would be nowhere if adding it failed.
    ...state !== "surplus"
      ? { repairs: current !== undefined && current === own ? [] : putRight(item, scope, current, faults, passing) }
      : full && (item.family === 4 || settled(item))
      ? { repairs: surplus.map(removal) }
      : { repairs: [], pending: true },
  };
}

function putRight(
  item: Address,
  scope: AddressScope,
  current: Place | undefined,
  faults: readonly string[],
  passing: readonly string[],
): readonly Repair[] {
  // IPv6 derives the scope from the address. Without nodad it is unusable for a second, without carrier for ever.
  const address = `${item.ip}/${fullPrefix(item.family)} dev ${item.link}${
    item.family === 4 ? ` scope ${scope}` : " nodad"
  }`;
  const add: Repair = { command: `address add ${address}` };
  if (current === undefined) return [add];
  // `address replace` changes lifetimes and nothing else; the rest needs an absence of some 0.1 ms, within one batch.
  if (faults.length > 0) return [removal(current), add];
  return passing.length > 0 ? [{ command: `address replace ${address} valid_lft forever preferred_lft forever` }] : [];
}

function removal({ ip, prefixLength, link }: Place): Repair {
  return { command: `address del ${ip}/${prefixLength} dev ${link.device}` };
}

/** `/24`, `/128 peer fd00::9`. */
function lengthOf({ prefixLength, peer }: Place): string {
  return `/${prefixLength}${peer === undefined ? "" : ` peer ${peer}`}`;
}

function placeName(place: Place): string {
  return `${place.ip}${lengthOf(place)} on ${place.link.device}`;
}

/** Judges an address that is to be gone from all these places. */
export function judgeUnwanted(item: Address, link: ListedLink | undefined, places: readonly Place[]): Finding {
  const found = places.filter((place) => isExact(place, item));
  const elsewhere = found.filter((place) => place.link !== link).map(placeName);
  return {
    item,
    state: found.length === 0 ? "missing" : "present",
    ok: found.length === 0,
    ...elsewhere.length > 0 && { removes: elsewhere },
    verb: "removed",
    repairs: found.map(removal),
  };
}

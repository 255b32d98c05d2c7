import type { Desired } from "../desired/desired.ts";
import { LINK_ALIAS, LINK_GROUP, type ListedLink } from "./link.ts";
import type { Finding, Repair } from "./tool.ts";

/** A longer name can only be an alternative one (IFNAMSIZ of the kernel), by which no link can be created. */
const MAX_NAME_BYTES = 15;

/** Options for {@linkcode judgeLink}. */
export interface JudgeLinkOptions {
  /** Type of a link that has to be created. @default {"dummy"} */
  readonly linkType?: string | undefined;
  /** Whether a link that is missing is somebody else's to create. @default {false} */
  readonly waitForLink?: boolean;
}

/** Judges the link that is to carry the addresses. */
export function judgeLink(
  { link: item }: Desired,
  link: ListedLink | undefined,
  { linkType = "dummy", waitForLink = false }: JudgeLinkOptions,
): Finding {
  const mark: Repair = { command: `link set dev ${item.name} group default alias ${LINK_ALIAS} up` };
  if (link === undefined) {
    const isTooLong = new TextEncoder().encode(item.name).length > MAX_NAME_BYTES;
    const obstacle = waitForLink
      ? "missing, and waited for: it was not this program's"
      : isTooLong
      ? `missing, and not to be created: a name of more than ${MAX_NAME_BYTES} bytes can only be an alternative name`
      : undefined;
    return {
      item,
      state: "missing",
      ok: false,
      ...obstacle !== undefined && { detail: obstacle },
      verb: "created",
      repairs: obstacle !== undefined
        ? []
        : [{ command: `link add name ${item.name} group ${LINK_GROUP} type ${linkType}` }, mark],
    };
  }
  const { up, ours, marked } = link;
  if (up && ours === marked) return { item, state: "present", ok: true, ours, repairs: [] };
  return {
    item,
    state: "wrong",
    ok: false,
    ours,
    detail: !ours ? "down, and not this program's to bring up" : marked ? "down" : "without its alias",
    verb: marked || !ours ? "brought up" : "marked",
    repairs: ours ? [marked ? { command: `link set dev ${item.name} up` } : mark] : [],
  };
}

/** Judges the link that the addresses were on, and that is to go if this program created it. */
export function judgeUnwantedLink({ link: item, addresses }: Desired, link: ListedLink | undefined): Finding {
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

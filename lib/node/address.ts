/**
 * Addresses and the link that carries them, through one `ip -batch` process.
 *
 * @module
 */
import type { Address, Desired } from "../desired/desired.ts";
import { classify, CommandError } from "./command_error.ts";
import { isExact, judgeAddress, judgeUnwanted, type Place } from "./judge_address.ts";
import { judgeLink, type JudgeLinkOptions, judgeUnwantedLink } from "./judge_link.ts";
import { countAnswers, type ListedLink, parseLinks } from "./link.ts";
import type { Finding, Tool } from "./tool.ts";

const NO_DUMMY =
  "the interface does not exist, and the kernel has no links of type dummy to create it: load the module " +
  "dummy, or give --interface one that exists";
const NO_IPV6 = "IPv6 is off in the kernel, or on the interface (sysctl net.ipv6.conf.*.disable_ipv6)";

/** So many addresses are asked for by name. More would take longer than a list of all: the kernel goes through them each time. */
const MAX_NAMED = 2;

/** What is taken for true of `lo` when only addresses were asked for, and it has none of them. */
const LO: ListedLink = {
  device: "lo",
  names: ["lo"],
  up: true,
  loopback: true,
  ours: false,
  marked: false,
  addresses: [],
};

/** Options for {@linkcode addressTool}. */
export interface AddressToolOptions extends JudgeLinkOptions {
  /**
   * Whether to look for more than what is to be there: the same addresses with other prefix lengths, and on other links.
   *
   * @default {true}
   */
  readonly full?: boolean;
  /** Whether an address has been on the link for so long that it can be removed elsewhere. @default {() => true} */
  readonly settled?: (address: Address) => boolean;
}

/** A {@linkcode Tool} of which a command can print the listing, too. */
export interface AddressTool extends Tool {
  /** Other than {@linkcode Tool.look} it takes as long whatever stands on other links. Undefined where it takes several. */
  readonly glance?: readonly string[];
}

/**
 * The tool that keeps the addresses and their link.
 *
 * @param desired Its rules are not looked at.
 */
export function addressTool(desired: Desired, options: AddressToolOptions = {}): AddressTool {
  const { link, addresses } = desired;
  const questions = questionsOf(desired, options);
  return {
    argv: ["ip", "-json", "-details", "-force", "-batch", "-"],
    items: [link, ...addresses],
    look: questions.map((question) => `${question}\n`).join(""),
    // `ip` remembers which index a name had. A link that was deleted and made again, by whomever, has another one.
    keepable: link.name === "lo",
    // A question about a link that is not there is answered on stderr.
    answered: (stdout, stderr, lines) =>
      (stdout === "" || stdout.endsWith("\n")) &&
        countAnswers(stdout) + stderr.split(" does not exist.\n").length > questions.length ||
      stderr.split("Command failed").length > lines,
    judge: (listing) => judge(desired, options, parseLinks(listing)),
    script: (findings) => findings.flatMap(({ repairs }) => repairs.map(({ command }) => `${command}\n`)).join(""),
    shell: ({ command }) => `ip ${command}`,
    blame,
    parts: () => [],
    ...questions.length === 1 && { glance: ["ip", "-json", "-details", ...questions.join().split(" ")] },
  };
}

/**
 * What `ip` is asked. `ip -batch` lets the kernel list all addresses of the node for each question and picks out those of the
 * link (it does not set NETLINK_GET_STRICT_CHK), but prints, and leaves to be read, only what was asked for.
 */
function questionsOf(desired: Desired, options: AddressToolOptions): readonly string[] {
  const { link, addresses, deduplicate } = desired;
  const { full = true, waitForLink = false } = options;
  const onLink = `address show dev ${link.name}`;
  const named = (question: string) => addresses.map(({ ip }) => `${question} to ${ip}`);
  const areFew = addresses.length <= MAX_NAMED;
  // Of another link nothing would be said when it lacks the address. This one is there, and not for this program to set up.
  if (!full) return link.name === "lo" && areFew ? named(onLink) : [onLink];
  const everywhere = deduplicate === true || (deduplicate === "auto" && link.name !== "lo" && !waitForLink);
  if (!everywhere) return [onLink];
  return areFew ? [onLink, ...named("address show")] : ["address show"];
}

/** `ip -force -batch` goes on after a line that failed, and says `Command failed -:LINE` behind its error. */
function blame(error: CommandError, itemAt: Parameters<Tool["blame"]>[1]): ReturnType<Tool["blame"]> {
  const blamed = new Map<Finding["item"], CommandError>();
  for (const [, text = "", line] of error.stderr.matchAll(/((?:(?!Command failed).*\n)*)Command failed .*:(\d+)\n?/g)) {
    const item = itemAt(Number(line));
    if (item === undefined || blamed.has(item)) continue;
    const kind = classify(text);
    const said = text.trim().replaceAll("\n", "; ");
    const failure = { kind, said, ...kind === "unsupported" && { remedy: item.kind === "link" ? NO_DUMMY : NO_IPV6 } };
    blamed.set(item, new CommandError(error.argv, failure, error.code, text));
  }
  return blamed;
}

/** The link, then each address; for a removal, each address, then the link. */
function judge(desired: Desired, options: AddressToolOptions, links: readonly ListedLink[]): readonly Finding[] {
  const { want, addresses, deduplicate } = desired;
  const { full = true, waitForLink = false, settled = () => true } = options;
  const { name } = desired.link;
  const link = links.find(({ names }) => names.includes(name)) ?? (name === "lo" && !full ? LO : undefined);
  const places = Map.groupBy(
    links.flatMap((link) => link.addresses.map((address): Place => ({ ...address, link }))),
    ({ ip }) => ip,
  );
  const everywhere = full &&
    (deduplicate === true || (deduplicate === "auto" && (link?.ours ?? (want === "present" && !waitForLink))));
  const placesOf = (item: Address) =>
    (places.get(item.ip) ?? []).filter((place) =>
      place.link === link
        // One end of a point-to-point address is another address to IPv4.
        ? item.family === 6 || place.peer === undefined
        : everywhere && isExact(place, item)
    );
  if (want === "absent") {
    return [...addresses.map((item) => judgeUnwanted(item, link, placesOf(item))), judgeUnwantedLink(desired, link)];
  }
  const linkFinding = judgeLink(desired, link, options);
  const hasLink = link !== undefined || linkFinding.repairs.length > 0;
  return [
    linkFinding,
    ...addresses.map((item) => judgeAddress(item, link, placesOf(item), { full, settled }))
      .map((finding) => hasLink ? finding : { ...finding, repairs: [] }),
  ];
}

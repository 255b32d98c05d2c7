/**
 * The programs that print a line for each event of the kernel. What they print is a hint to look again, and never taken for
 * true.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Desired } from "../desired/desired.ts";
import type { CommandRunner } from "./process.ts";

/** The kernel is asked whether a monitor listens after such pauses, in milliseconds, until it does … */
const PROOF = { first: 50, max: 5000 } as const;
/** … or for so long: then it never will. */
export const PROOF_MS = 60_000;
/** Without anybody to ask, one that listens at once does so by then, in milliseconds. */
const SUBSCRIBED_MS = 500;
/** Memory that `nft monitor` may take: it holds the whole ruleset of the node, 4 KiB for each rule. All of us are to fit into 90 MiB. */
const NFT_MAX_BYTES = 24 << 20;
/** Processor time that it may take: it begins to read the ruleset anew whenever that changed meanwhile. */
const NFT_MAX_SECONDS = 2;

/**
 * What a line tells: of something of ours, of others, that events were lost, that the monitor ends at something that it cannot
 * read, or nothing that is understood.
 */
export type LineKind = "ours" | "foreign" | "lost" | "unreadable" | "unknown";

/** A program that prints a line for each event. */
export interface Monitor {
  readonly program: "ip" | "nft" | "xtables-monitor";
  readonly argv: readonly string[];
  /** The netlink socket through which it hears: protocol, and one of the groups as a bit. */
  readonly socket: { readonly protocol: number; readonly group: number };
  /** It joins the group before it does anything else. */
  readonly listensAtOnce: boolean;
  judge(line: string): LineKind;
}

/** `ip monitor`: addresses and links. */
export function addressMonitor({ link, addresses }: Desired): Monitor {
  const quoted = (names: readonly string[]) => names.map((name) => name.replaceAll(/[^\w]/g, "\\$&")).join("|");
  // Whole words, or 10.96.0.2 would be in 10.96.0.20; `eth0@if5:` and `eth0:` are both the link's name.
  const ours = new RegExp(
    `(?<![\\w.:-])(?:(?:${quoted([link.name])})(?![\\w.-])|(?:${quoted(addresses.map(({ ip }) => ip))})(?![\\w.:]))`,
  );
  return {
    program: "ip",
    argv: ["ip", "-o", "monitor", "address", "link"],
    socket: { protocol: 0, group: 0x10 }, // NETLINK_ROUTE, RTMGRP_IPV4_IFADDR
    listensAtOnce: true,
    judge: (line) =>
      ours.test(line) ? "ours" : /^(?:Deleted )?\d+: /.test(line) ? "foreign" : isLoss(line) ? "lost" : "unknown",
  };
}

/**
 * Finds what tells of rules in nftables, the best first. `xtables-monitor` listens at once and holds no rules. Before 1.8.11 it
 * leaves what it printed in its buffer, and ends at a rule that it cannot read, which any IPv6 rule with a port is to it.
 * `nft monitor` reads all, but its memory and processor time have to be limited.
 *
 * @param desired Only the families of its addresses are listened to, where that can be told.
 */
export async function findRuleMonitors(
  { addresses }: Desired,
  runner: CommandRunner,
  options: { readonly timeout: number; readonly signal?: AbortSignal },
): Promise<readonly Monitor[]> {
  const { stdout } = await runner.start(["xtables-monitor", "--version"], options).end();
  const [, major, minor, patch] = /(\d+)\.(\d+)\.(\d+)/.exec(stdout) ?? [];
  if (major === undefined) return [NFT_MONITOR];
  const [family = 4, ...others] = new Set(addresses.map(({ family }) => family));
  const argv = ["xtables-monitor", "--event", ...others.length === 0 ? [family === 4 ? "--ipv4" : "--ipv6"] : []];
  const isModern = Number(major) * 1e6 + Number(minor) * 1e3 + Number(patch) >= 1_008_011;
  if (isModern) return [{ ...XTABLES_MONITOR, argv }];
  const old = { ...XTABLES_MONITOR, argv: ["stdbuf", "--output=L", ...argv] };
  return family === 4 && others.length === 0 ? [old, NFT_MONITOR] : [NFT_MONITOR, old];
}

const SOCKET = { protocol: 12, group: 0x40 } as const; // NETLINK_NETFILTER, NFNLGRP_NFTABLES

const XTABLES_MONITOR: Omit<Monitor, "argv"> = {
  program: "xtables-monitor",
  socket: SOCKET,
  listensAtOnce: true,
  judge(line) {
    if (
      /^ EVENT: (?:(?:ip6?tables|-[46]) -t (?:raw|filter) -[DX] (?:PREROUTING|INPUT|OUTPUT)\b|nft: DEL table: table (?:raw|filter) ip)/
        .test(line)
    ) return "ours";
    if (/^ EVENT: |^NEWGEN: |^libxtables: unhandled NFPROTO/.test(line)) return "foreign";
    if (/^Perhaps xtables-monitor or your kernel needs to be upgraded/.test(line)) return "unreadable";
    return isLoss(line) ? "lost" : "unknown";
  },
};

/** `nft monitor`: in plain words, since `destroy` among them is a syntax error from nft 1.0.7 to 1.1.6. */
export const NFT_MONITOR: Monitor = {
  program: "nft",
  argv: ["prlimit", `--data=${NFT_MAX_BYTES}`, `--cpu=${NFT_MAX_SECONDS}`, "nft", "monitor"],
  socket: SOCKET,
  listensAtOnce: false,
  judge(line) {
    if (/^(?:add|insert|replace|create|# new generation) /.test(line)) return "foreign";
    if (
      /^(?:delete|destroy) (?:table ip6? (?:raw|filter)\b|(?:chain|rule) ip6? (?:raw|filter) (?:PREROUTING|INPUT|OUTPUT)\b)/
        .test(line)
    ) return "ours";
    if (/^(?:delete|destroy|flush) /.test(line)) return "foreign";
    return isLoss(line) ? "lost" : "unknown";
  },
};

/** "No buffer space available" of libc, or nft's "We lost some netlink events". */
function isLoss(line: string): boolean {
  return /no buffer space|lost .*events/i.test(line);
}

/**
 * Waits until the kernel hands events to a monitor, or says for so long that it does not that it never will.
 *
 * @param options `signal` ends it early.
 */
export async function untilListening(
  runner: CommandRunner,
  monitor: Monitor,
  pid: number,
  { clock, timeout, signal }: { readonly clock: Clock; readonly timeout: number; readonly signal: AbortSignal },
): Promise<boolean> {
  const deadline = clock.now() + PROOF_MS;
  for (let pause: number = PROOF.first; clock.now() < deadline; pause = Math.min(2 * pause, PROOF.max)) {
    await clock.delay(pause, signal);
    if (signal.aborted) return false;
    const answer = await isListening(runner, monitor, pid, { timeout, signal });
    if (answer === undefined && pause < SUBSCRIBED_MS) continue;
    if (answer ?? monitor.listensAtOnce) return true;
  }
  return false;
}

/**
 * Whether the kernel hands events to a monitor; undefined if it cannot be asked.
 *
 * @param pid Of the monitor. That is its port, unless a process of another container has the same number.
 */
export async function isListening(
  runner: CommandRunner,
  { socket }: Monitor,
  pid: number,
  options: { readonly timeout: number; readonly signal?: AbortSignal },
): Promise<boolean | undefined> {
  // The sandbox of Deno reads nothing in /proc, where net/netlink says the same. Newer releases of ss (seen: 6.15) print the
  // groups only with -p, as if they were of the column of processes.
  const { stdout, error } = await runner.start(["ss", "-H", "-n", "-e", "-p", "-f", "netlink"], options).end();
  if (error !== undefined || !stdout.includes(" groups=")) return undefined;
  return stdout.split("\n").some((line) => {
    const [, protocol, port, groups = "0"] = /^\d+ +\d+ +(\d+):(-?\d+) .*\bgroups=0x([\da-f]+)/.exec(line) ?? [];
    // xtables-monitor listens through a second socket, whose port the kernel chooses: it is negative.
    return Number(protocol) === socket.protocol && (Number(port) === pid || Number(port) < 0) &&
      (parseInt(groups, 16) & socket.group) !== 0;
  });
}

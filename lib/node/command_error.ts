/**
 * Why a command failed, decided once, so that nobody else reads the error texts of `ip` and `iptables`.
 *
 * @module
 */

/** The kinds of failure that make a difference to somebody. */
export type FailureKind =
  /** The program is not installed. */
  | "missing-program"
  /** CAP_NET_ADMIN (or root) is lacking. */
  | "not-permitted"
  /** Another program holds the xtables lock. */
  | "locked"
  /** The lock file cannot be opened: a read-only root, or a /run that is not the node's. */
  | "lock-file"
  /** The kernel is busy: EAGAIN, EBUSY, EINTR. */
  | "busy"
  /** iptables-legacy cannot open a table: no rights, or no such table; it does not say which. */
  | "no-table"
  /** The kernel has no nf_tables, or an emulator such as qemu-user does not hand on what is told to it. */
  | "no-netlink"
  /** iptables-nft cannot list a chain: native nftables rules are in it. */
  | "incompatible"
  /** iptables-nft cannot read a rule that it came upon. */
  | "unreadable"
  /** A chain of the name is there, but is not one of iptables: it has no hook, or another hook or priority. */
  | "foreign-chain"
  /** Only the program that made the table may change it (nftables' flag `owner`). */
  | "owned"
  /** There is no such rule. */
  | "absent"
  /** There is such a chain already. */
  | "exists"
  /** iptables says no more than which line it is about; 1.8.7 and the legacy one do so. */
  | "unexplained"
  /** The kernel lacks a match, a target, a family or a link type. */
  | "unsupported"
  | "timed-out"
  /** The caller's signal ended it. */
  | "aborted"
  | "other";

/** A {@linkcode FailureKind} and what was said of it. */
export interface CommandFailure {
  readonly kind: FailureKind;
  readonly said: string;
  /** What to do about it, if that is not what {@linkcode FailureKind} suggests. */
  readonly remedy?: string;
}

// By text: iptables exits 4 for the lock and for missing rights, 1 to 3 for the rest; ip exits 1 or 2 for everything.
const TEXTS: readonly (readonly [FailureKind, RegExp])[] = [
  ["lock-file", /can't open lock file|problem acquiring the xtables lock: (?:read-only|permission)/i],
  ["locked", /xtables lock|xtables\.lock/i],
  ["busy", /temporarily unavailable|resource busy|interrupted system call|no buffer space|cannot allocate memory/i],
  ["owned", /(?:table|chain|rule)_\w+ failed \(operation not permitted\)/i],
  ["not-permitted", /permission denied|operation not permitted|you must be root/i],
  ["no-table", /(?:unable to|can't) initialize/i],
  ["no-netlink", /failed to initialize nft|fetch rule set generation id|table_add failed|protocol not supported/i],
  ["incompatible", /is incompatible, use 'nft' tool/],
  ["unreadable", /parsing nftables rule failed/i],
  ["foreign-chain", /chain_add failed \(operation not supported\)/i],
  ["absent", /does a matching rule exist/],
  ["exists", /chain already exists/i],
  [
    "unsupported",
    /missing kernel module|is disabled on this device|rule_\w+ failed \(no such file|unknown device type|target\/match by that name|couldn't load|not supported|unknown option "--notrack"/i,
  ],
  ["unexplained", /^\S+: line \d+ failed$/m],
];

const PACKAGES: Readonly<Record<string, string>> = {
  ip: "iproute2",
  ss: "iproute2",
  nft: "nftables",
  prlimit: "util-linux",
  stdbuf: "coreutils",
};

const NATIVE =
  "native nftables rules stand in a table of iptables: give them a table of another name (nft list ruleset)";

const REMEDIES: Readonly<Partial<Record<FailureKind, string>>> = {
  "not-permitted": "CAP_NET_ADMIN is missing: run as root, or give the container the capability NET_ADMIN",
  locked: "another program holds the xtables lock",
  "no-table": "CAP_NET_ADMIN or, for iptables-legacy, CAP_NET_RAW is missing, or the kernel lacks the table (module " +
    "iptable_raw or ip6table_raw)",
  unsupported: "the kernel lacks what the rule needs: load the modules xt_CT (NOTRACK) and xt_tcpudp",
  "no-netlink":
    "the kernel has no nf_tables, or an emulator such as qemu-user hides it: load the module nf_tables, or use " +
    "--iptables-mode=legacy",
  incompatible: NATIVE,
  unreadable: NATIVE,
  "foreign-chain": NATIVE,
  owned: "another program owns the table, as its flag owner says (nft list tables): only it can change rules there",
  "lock-file": "mount the node's /run/xtables.lock into the container, writable: hostPath, type FileOrCreate",
};

/** A command that did not end well. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly kind: FailureKind;
  readonly argv: readonly string[];
  /** Undefined when it never started. */
  readonly code: number | undefined;
  readonly stderr: string;

  constructor(argv: readonly string[], failure: CommandFailure, code?: number, stderr = "") {
    const program = argv[0] ?? "";
    const remedy = failure.kind === "missing-program"
      ? `not installed: Debian's package ${PACKAGES[program] ?? "iptables"} has it`
      : failure.remedy ?? REMEDIES[failure.kind];
    const said = failure.kind === "missing-program" ? [] : [failure.said];
    super(`Cannot run ${program}: ${[...said, ...(remedy === undefined ? [] : [remedy])].join("; ")}`);
    this.kind = failure.kind;
    this.argv = argv;
    this.code = code;
    this.stderr = stderr;
  }

  /** The error of a command that ended, or undefined when it ended well. */
  static of(
    argv: readonly string[],
    status: { readonly code: number; readonly signal: string | null } | undefined,
    stderr: string,
    killed: CommandFailure | undefined,
  ): CommandError | undefined {
    if (killed !== undefined) return new CommandError(argv, killed, status?.code, stderr);
    if (status?.code === 0) return undefined;
    const end = status?.signal ? `killed by ${status.signal}` : `exit code ${status?.code}`;
    const lines = stderr.split("\n").map((line) => line.trim()).filter(isTelling);
    return new CommandError(argv, { kind: classify(stderr), said: lines.join("; ") || end }, status?.code, stderr);
  }

  /** True for what may pass by itself, so that trying again soon is worth it. */
  get transient(): boolean {
    return this.kind === "locked" || this.kind === "busy" || this.kind === "timed-out";
  }
}

/** Reads the kind of a failure off an error text of `ip` or `iptables`. */
export function classify(text: string): FailureKind {
  return TEXTS.find(([, pattern]) => pattern.test(text))?.[0] ?? "other";
}

// iptables adds "# Warning: iptables-legacy tables present" and "Try `iptables -h' for more information."
function isTelling(line: string): boolean {
  return line !== "" && !line.startsWith("#") && !line.startsWith("Try `") &&
    !line.startsWith("Error occurred at line");
}

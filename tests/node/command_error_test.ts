import { assertEquals } from "@std/assert";
import { classify, CommandError, type FailureKind } from "../../lib/node/command_error.ts";

/** What the tools print, in the releases of Debian 12 unless another is named. */
const TEXTS: readonly (readonly [FailureKind, string])[] = [
  ["locked", "Another app is currently holding the xtables lock. Stopped waiting after 1s.\n"],
  ["locked", "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n"],
  ["locked", "Can't lock /run/xtables.lock: Resource temporarily unavailable\n"],
  [
    "locked",
    "Can't lock /run/xtables.lock: Resource temporarily unavailable\n" +
    "Another app is currently holding the xtables lock. Stopped waiting after 5s.\n",
  ],
  ["lock-file", "Fatal: can't open lock file /run/xtables.lock: Read-only file system\n"],
  ["lock-file", "Fatal: can't open lock file /run/xtables.lock: Permission denied\n"],
  ["not-permitted", "RTNETLINK answers: Operation not permitted\n"],
  [
    "not-permitted",
    "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n",
  ],
  ["busy", "RTNETLINK answers: Device or resource busy\n"],
  ["busy", "RTNETLINK answers: Resource temporarily unavailable\n"],
  ["busy", "RTNETLINK answers: No buffer space available\n"],
  ["busy", "RTNETLINK answers: Cannot allocate memory\n"],
  ["busy", "iptables: Resource temporarily unavailable.\n"],
  ["unsupported", "Error: Unknown device type.\n"],
  ["unsupported", "RTNETLINK answers: Operation not supported\n"],
  ["unsupported", "iptables-restore: line 2 failed: No chain/target/match by that name.\n"],
  [
    "unsupported",
    "Warning: Extension CT revision 0 not supported, missing kernel module?\niptables-restore: line 4 failed\n",
  ],
  [
    "unsupported",
    "Warning: Extension CT revision 0 not supported, missing kernel module?\n" +
    "iptables-nft-restore v1.8.9 (nf_tables): \n" +
    "line 2: RULE_INSERT failed (No such file or directory): rule in chain OUTPUT\n",
  ],
  ["no-table", "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'raw'\n"],
  ["no-table", "iptables v1.8.9 (legacy): can't initialize iptables table `raw': Table does not exist\n"],
  ["unsupported", "iptables-restore v1.8.9 (legacy): Couldn't load target `NOTRACK':No such file or directory\n"],
  ["unsupported", 'iptables-restore v1.8.9 (legacy): unknown option "--notrack"\n'],
  ["unexplained", "iptables-restore: line 2 failed\n"],
  ["unexplained", "# Warning: iptables-legacy tables present\niptables-nft-restore: line 5 failed\n"], // 1.8.7
  ["absent", "iptables-restore: line 3 failed: Bad rule (does a matching rule exist in that chain?).\n"],
  ["exists", "iptables-nft-restore: line 4 failed: Chain already exists.\n"],
  [
    "incompatible",
    "iptables-nft-restore v1.8.9 (nf_tables): chain `INPUT' in table `filter' is incompatible, use 'nft' tool.\n",
  ],
  [
    "unreadable",
    "Error: unknown ipv4 meta key\niptables-nft-restore v1.8.9 (nf_tables): Parsing nftables rule failed\n" +
    "Perhaps iptables-nft-restore or your kernel needs to be upgraded.\n",
  ],
  [
    "owned",
    "iptables-nft-restore v1.8.9 (nf_tables): \nline 2: CHAIN_ADD failed (Operation not permitted): chain OUTPUT\n",
  ],
  [
    "foreign-chain",
    "iptables-nft-restore v1.8.9 (nf_tables): \nline 2: CHAIN_ADD failed (Operation not supported): chain INPUT\n",
  ],
  ["no-netlink", "iptables-nft-restore/1.8.9 Failed to initialize nft: Protocol not supported\n"],
  ["no-netlink", "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument\n"],
  ["no-netlink", "iptables v1.8.9 (nf_tables): TABLE_ADD failed (Operation not supported): table filter\n"],
  ["no-netlink", "Cannot open netlink socket: Protocol not supported\n"],
  ["other", 'Cannot find device "dummy0"\n'],
  ["other", "Error: ipv4: Address already assigned.\n"],
  ["other", "Error: ipv6: address not found.\n"],
  ["other", ""],
];

Deno.test("classify() reads the kind of a failure off the texts of ip and iptables", () => {
  assertEquals(TEXTS.map(([, text]) => [classify(text), text]), TEXTS.map(([kind, text]) => [kind, text]));
});

Deno.test("CommandError.of() gives no error when the program ended well, whatever it said", () => {
  assertEquals(
    CommandError.of(["ip"], { code: 0, signal: null }, "# Warning: iptables-legacy tables present\n", undefined),
    undefined,
  );
});

Deno.test("CommandError.of() tells on one line what the program said, without its advice", () => {
  const stderr = "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n" +
    "iptables-restore v1.8.9 (nf_tables): unknown option\n" +
    "Error occurred at line: 2\n" +
    "Try `iptables-restore -h' or 'iptables-restore --help' for more information.\n";
  const error = CommandError.of(["iptables-restore"], { code: 2, signal: null }, stderr, undefined);
  assertEquals(
    [error?.message, error?.kind, error?.code, error?.stderr, error?.name],
    [
      "Cannot run iptables-restore: iptables-restore v1.8.9 (nf_tables): unknown option",
      "other",
      2,
      stderr,
      "CommandError",
    ],
  );
});

Deno.test("CommandError.of() tells how the program ended when it said nothing", () => {
  assertEquals(
    [
      CommandError.of(["ip"], { code: 255, signal: null }, "", undefined),
      CommandError.of(["ip"], { code: 143, signal: "SIGTERM" }, "\n", undefined),
    ].map((error) => error?.message),
    ["Cannot run ip: exit code 255", "Cannot run ip: killed by SIGTERM"],
  );
});

Deno.test("CommandError.of() believes the one who killed the program rather than what it said", () => {
  const killed = { kind: "timed-out", said: "no answer in 10ms" } as const;
  const error = CommandError.of(["ip"], { code: 143, signal: "SIGTERM" }, "Operation not permitted\n", killed);
  assertEquals([error?.kind, error?.message], ["timed-out", "Cannot run ip: no answer in 10ms"]);
});

Deno.test("CommandError names the Debian package of each program that is missing", () => {
  const packages = ["ip", "nft", "iptables-restore", "ip6tables-legacy-restore"].map((program) =>
    new CommandError([program], { kind: "missing-program", said: "NotFound: …" }).message
  );
  assertEquals(packages, [
    "Cannot run ip: not installed: Debian's package iproute2 has it",
    "Cannot run nft: not installed: Debian's package nftables has it",
    "Cannot run iptables-restore: not installed: Debian's package iptables has it",
    "Cannot run ip6tables-legacy-restore: not installed: Debian's package iptables has it",
  ]);
});

Deno.test("CommandError.transient is true for what may pass by itself", () => {
  const kinds: readonly FailureKind[] = [
    "missing-program",
    "not-permitted",
    "locked",
    "lock-file",
    "busy",
    "unsupported",
    "timed-out",
    "aborted",
    "other",
  ];
  assertEquals(
    kinds.filter((kind) => new CommandError(["ip"], { kind, said: "" }).transient),
    ["locked", "busy", "timed-out"],
  );
});

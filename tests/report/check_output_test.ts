import { assertEquals } from "@std/assert";
import { type CheckOutput, checkOutput, checkText } from "../../lib/report/check_output.ts";
import { desired } from "../../lib/desired/desired.ts";
import { check } from "../../lib/reconcile/check.ts";
import { backendOf } from "../../lib/reconcile/rules.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf, reportOf } from "../support/reports.ts";
import { FROM, TO } from "../support/texts.ts";

const RULES = [
  `raw PREROUTING ${TO} -j NOTRACK`,
  `raw OUTPUT ${TO} -j NOTRACK`,
  `raw OUTPUT ${FROM} -j NOTRACK`,
  `filter INPUT ${TO} -j ACCEPT`,
  `filter OUTPUT ${FROM} -j ACCEPT`,
] as const;
const HEALTHY = [
  "ip address add 10.96.0.2/32 dev lo scope host",
  ...RULES.map((rule) => `iptables-nft -t ${rule.replace(" ", " -A ")}`),
].join("\n");

Deno.test("checkText() and checkOutput() say that all is as wanted", async () => {
  const result = await look({ state: HEALTHY });
  assertEquals(
    checkText(result, false),
    table([
      "KIND     WANTED                                                               STATE    DETAIL",
      "link     lo                                                                   present",
      "address  10.96.0.2/32 on lo                                                   present",
      ...RULES.map((rule) => `rule     ${rule.padEnd(67)}  present`),
      "In sync: all 7 are as wanted; iptables back end: nft",
    ]),
  );
  const rest = {
    interface: null,
    state: "present",
    ok: true,
    detail: null,
    error: null,
    warning: null,
    removes: [],
    repair: [],
  } as const;
  assertEquals(result, {
    inSync: true,
    backend: "nft",
    strayRulesIn: null,
    items: [
      { kind: "link", name: "lo", ...rest },
      { kind: "address", name: "10.96.0.2/32", ...rest, interface: "lo" },
      ...RULES.map((name) => ({ kind: "rule", name, ...rest }) as const),
    ],
  });
});

const BROKEN = `
  ip link add name proxy0 type dummy
  ip link set dev proxy0 alias apiserver-proxy-sidecar
  ip address add 10.96.0.2/24 dev proxy0 scope link
  ip address add 10.96.0.3/32 dev proxy0 scope global broadcast 10.96.0.3
  ip address add fd00::2/128 dev proxy0 nodad
  ip address add fd00::2/128 dev lo nodad
  iptables-nft -A INPUT ${TO} -j ACCEPT
  iptables-nft -A INPUT ${TO} -j ACCEPT`;
const FLAGS = ["--interface=proxy0", "--ip-address=10.96.0.3,fd00::2"];

Deno.test("checkText() says what is missing, wrong or too many, and what would repair it", async () => {
  const result = await look({ state: BROKEN, flags: FLAGS });
  const lines = checkText(result, false).split("\n");
  assertEquals(
    lines.slice(1, 22).map((line) => line.replaceAll(/ {3,}(?=\w)/g, "  ")),
    [
      "link     proxy0  wrong    down",
      "  repair: ip link set dev proxy0 up",
      "address  10.96.0.2/32 on proxy0  missing  also as /24 on proxy0",
      "  removes: 10.96.0.2/24 on proxy0",
      "  repair: ip address add 10.96.0.2/32 dev proxy0 scope global",
      "address  10.96.0.3/32 on proxy0  wrong    broadcast 10.96.0.3",
      "  repair: ip address del 10.96.0.3/32 dev proxy0",
      "  repair: ip address add 10.96.0.3/32 dev proxy0 scope global",
      "address  fd00::2/128 on proxy0  surplus  also as /128 on lo",
      "  removes: fd00::2/128 on lo",
      "  repair: ip address del fd00::2/128 dev lo",
      `rule     ${RULES[0]}  missing`,
      `  repair: iptables-nft -t raw -I PREROUTING ${TO} -j NOTRACK`,
      `rule     ${RULES[1]}  missing`,
      `  repair: iptables-nft -t raw -I OUTPUT ${TO} -j NOTRACK`,
      `rule     ${RULES[2]}  missing`,
      `  repair: iptables-nft -t raw -I OUTPUT 2 ${FROM} -j NOTRACK`,
      `rule     ${RULES[3]}  surplus  2 copies`,
      `  repair: iptables-nft -t filter -D INPUT ${TO} -j ACCEPT`,
      `  repair: iptables-nft -t filter -D INPUT ${TO} -j ACCEPT`,
      `  repair: iptables-nft -t filter -I INPUT 1 ${TO} -j ACCEPT`,
    ].map((line) => line.replaceAll(/ {3,}(?=\w)/g, "  ")),
  );
  assertEquals(lines.at(-2), "Not in sync: 19 of 19 are not as wanted; iptables back end: nft");
});

Deno.test("checkOutput() says what is there instead, and the commands as they are typed", async () => {
  const { inSync, items } = await look({ state: BROKEN, flags: FLAGS });
  assertEquals([inSync, items.length], [false, 19]);
  const rest = { ok: false, error: null, warning: null, removes: [] };
  assertEquals<unknown>([items[0], items[1], items[7]], [
    {
      kind: "link",
      name: "proxy0",
      interface: null,
      state: "wrong",
      detail: "down",
      ...rest,
      repair: ["ip link set dev proxy0 up"],
    },
    {
      kind: "address",
      name: "10.96.0.2/32",
      interface: "proxy0",
      state: "missing",
      detail: "also as /24 on proxy0",
      ...rest,
      removes: ["10.96.0.2/24 on proxy0"],
      repair: ["ip address add 10.96.0.2/32 dev proxy0 scope global"],
    },
    {
      kind: "rule",
      name: RULES[3],
      interface: null,
      state: "surplus",
      detail: "2 copies",
      ...rest,
      repair: [
        `iptables-nft -t filter -D INPUT ${TO} -j ACCEPT`,
        `iptables-nft -t filter -D INPUT ${TO} -j ACCEPT`,
        `iptables-nft -t filter -I INPUT 1 ${TO} -j ACCEPT`,
      ],
    },
  ]);
});

Deno.test("checkText() and checkOutput() tell of what is to be known, and of what a repair would remove", () => {
  const report = reportOf(configOf(), {
    address: { after: "surplus", more: { warning: "the node's own", removes: ["10.96.0.2/24 on eth0"] } },
  });
  const output = checkOutput({
    items: report.items.map((it) => ({ ...it, remedies: [] })),
    ok: false,
    backend: undefined,
    strays: undefined,
  });
  assertEquals(
    checkText(output, false),
    table([
      "KIND     WANTED              STATE    DETAIL",
      "address  10.96.0.2/32 on lo  surplus",
      "         warning: the node's own",
      "         removes: 10.96.0.2/24 on eth0",
      "Not in sync: 1 of 1 is not as wanted",
    ]),
  );
  assertEquals(output.items.map(({ warning, removes }) => ({ warning, removes })), [
    { warning: "the node's own", removes: ["10.96.0.2/24 on eth0"] },
  ]);
});

Deno.test("checkText() and checkOutput() say why something is unknown, and offer no repair", async () => {
  const result = await look({
    state: HEALTHY,
    prepare(node) {
      node.notPermitted = true;
      node.missing.add("ip");
    },
  });
  const why = "Cannot run iptables-nft-restore: iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set " +
    "generation id: Permission denied (you must be root); CAP_NET_ADMIN is missing: run as root, or give the " +
    "container the capability NET_ADMIN";
  const absent = "Cannot run ip: not installed: Debian's package iproute2 has it";
  assertEquals(
    checkText(result, false),
    table([
      "KIND     WANTED                                                               STATE    DETAIL",
      `link     lo                                                                   unknown  ${absent}`,
      `address  10.96.0.2/32 on lo                                                   unknown  ${absent}`,
      ...RULES.map((rule) => `rule     ${rule.padEnd(67)}  unknown  ${why}`),
      "Not in sync: 7 of 7 are not as wanted; iptables back end: nft",
    ]),
  );
  assertEquals<unknown>(
    result.items.map(({ state, ok, detail, error, repair }) => ({ state, ok, detail, error, repair })),
    [absent, absent, ...RULES.map(() => why)].map((error) => (
      { state: "unknown", ok: false, detail: null, error, repair: [] }
    )),
  );
});

Deno.test("checkText() and checkOutput() name the back end in which rules of an earlier run stand", async () => {
  const state = `${HEALTHY}\niptables-legacy -t raw -A OUTPUT ${TO} -j NOTRACK`;
  const result = await look({ state });
  assertEquals(checkText(result, false).split("\n").slice(-3), [
    "Rules of an earlier run stand in the back end legacy too; --daemon=false --cleanup removes them",
    "In sync: all 7 are as wanted; iptables back end: nft",
    "",
  ]);
  const { inSync, backend, strayRulesIn } = result;
  assertEquals({ inSync, backend, strayRulesIn }, { inSync: true, backend: "nft", strayRulesIn: "legacy" });
});

Deno.test("checkText() names no back end when no rules are wanted, or when it is unknown", async () => {
  const result = await look({ flags: ["--setup-iptables=false"] });
  assertEquals(
    checkText(result, false),
    table([
      "KIND     WANTED              STATE    DETAIL",
      "link     lo                  present",
      "address  10.96.0.2/32 on lo  missing",
      "         repair: ip address add 10.96.0.2/32 dev lo scope host",
      "Not in sync: 1 of 2 is not as wanted",
    ]),
  );
  assertEquals(result.backend, null);
});

Deno.test("checkText() colours the states, the heading and the summary, and no more", async () => {
  const [bold, red, green, yellow] = ["1;22", "31;39", "32;39", "33;39"].map((codes) => {
    const [on, off] = codes.split(";");
    // These tests may run with NO_COLOR, which wins.
    return (text: string) => Deno.noColor ? text : `\x1b[${on}m${text}\x1b[${off}m`;
  });
  const state = "ip address add 10.96.0.2/32 dev lo scope global";
  const result = await look({ state, flags: ["--setup-iptables=false", "--ip-address=10.96.0.3"] });
  assertEquals(
    checkText({ ...result, strayRulesIn: "nft" }, true),
    table([
      bold!("KIND     WANTED              STATE    DETAIL"),
      `link     lo                  ${green!("present")}`,
      `address  10.96.0.2/32 on lo  ${yellow!("wrong  ")}  scope global`,
      "         repair: ip address del 10.96.0.2/32 dev lo",
      "         repair: ip address add 10.96.0.2/32 dev lo scope host",
      `address  10.96.0.3/32 on lo  ${red!("missing")}`,
      "         repair: ip address add 10.96.0.3/32 dev lo scope host",
      yellow!("Rules of an earlier run stand in the back end nft too; --daemon=false --cleanup removes them"),
      red!("Not in sync: 2 of 3 are not as wanted"),
    ]),
  );
  const healthy = checkText(await look({ state: HEALTHY, flags: ["--setup-iptables=false"] }), true);
  assertEquals(healthy.split("\n").at(-2), green!("In sync: all 2 are as wanted"));
});

Deno.test("checkText() says the same with and without colours", async () => {
  const result = await look({ state: BROKEN, flags: FLAGS });
  // deno-lint-ignore no-control-regex
  assertEquals(checkText(result, true).replaceAll(/\x1b\[\d+m/g, ""), checkText(result, false));
});

interface LookOptions {
  readonly state?: string;
  readonly flags?: readonly string[];
  readonly prepare?: (node: FakeNode) => void;
}

/** What a look at a node gives. */
async function look({ state = "", flags = [], prepare }: LookOptions): Promise<CheckOutput> {
  const node = new FakeNode(state);
  prepare?.(node);
  const config = configOf("--setup-iptables", ...flags);
  const options = { runner: node, clock: node.clock, commandTimeout: config.commandTimeout };
  return checkOutput(await check(desired(config, "present"), backendOf(config), options));
}

function table(lines: readonly string[]): string {
  return [...lines, ""].join("\n");
}

import { assert, assertEquals } from "@std/assert";
import type { Config } from "../../lib/config/config.ts";
import { type Desired, desired, type Item, itemName } from "../../lib/desired/desired.ts";
import { normaliseSpec } from "../../lib/node/iptables_judge.ts";
import { addressTool } from "../../lib/node/address.ts";
import { rulesTools } from "../../lib/node/iptables.ts";
import { Sessions } from "../../lib/node/session.ts";
import { merge, pass, type PassOptions, type Report } from "../../lib/reconcile/pass.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { dumpedRules, IP } from "../support/texts.ts";
import { Random } from "../support/random.ts";

const RESTORE = ["iptables-restore", "--noflush", "--verbose", "--wait=5"];
const CONFIG = configFrom("--ip-address=10.96.0.2 --setup-iptables");
const DUAL = configFrom("--ip-address=10.96.0.2,fd00:96::2 --interface=dummy0 --port=443,6443 --setup-iptables");
/** A line that changes something. */
const CHANGE = /^(?:address (?:add|del|replace)|link |-[AID] )/m;
/** How the lines of our own link begin. */
const LINK = ["ip link add name", "ip link set dev"];
const SYNCED = ["ip address add 10.96.0.2/32 dev lo scope host", ...dumpedRules("iptables-nft")]
  .map((line) => `${line}\n`).join("");

Deno.test("pass() puts everything in with one process of each tool, and then only looks", async () => {
  const node = new FakeNode();
  const first = await keep(node, CONFIG);
  assertEquals(node.processes.map(({ argv }) => argv), [IP, RESTORE]);
  assertEquals(node.dump(), SYNCED);
  assertEquals(first.ok, true);
  assertEquals(
    first.items.map(({ item, before, after, error }) => [itemName(item), before?.state, after?.state, error]),
    [
      ["lo", "present", "present", undefined],
      ["10.96.0.2/32", "missing", "present", undefined],
      ...desired(CONFIG, "present").rules.map((rule) => [itemName(rule), "missing", "present", undefined]),
    ],
  );

  const second = await keep(node, CONFIG);
  assertEquals(node.processes.slice(2).map(({ argv, stdin }) => [argv, CHANGE.test(stdin)]), [
    [IP, false],
    [RESTORE, false],
  ]);
  assertEquals(node.dump(), SYNCED);
  assertEquals(second.ok, true);
  assertEquals(node.running.size, 0);
});

Deno.test("pass() starts no iptables without rules to keep, and one for each family with them", async () => {
  const programs = async (flags: string) => {
    const node = new FakeNode();
    await keep(node, configFrom(flags));
    return node.processes.map(({ argv }) => argv[0]);
  };
  assertEquals(await programs("--ip-address=10.96.0.2,fd00:96::2"), ["ip"]);
  assertEquals(await programs("--ip-address=fd00:96::2 --setup-iptables"), ["ip", "ip6tables-restore"]);
  assertEquals(
    await programs("--ip-address=10.96.0.2,fd00:96::2 --setup-iptables"),
    ["ip", "iptables-restore", "ip6tables-restore"],
  );
});

Deno.test("pass() changes nothing without apply", async () => {
  const node = new FakeNode();
  const report = await keep(node, CONFIG, { apply: false });
  assertEquals(node.dump(), "");
  assertEquals(node.processes.map(({ stdin }) => CHANGE.test(stdin)), [false, false]);
  assertEquals(report.ok, false);
});

Deno.test("pass() leaves alone what is held, and puts the rest right", async () => {
  const node = new FakeNode();
  const held = (item: Item) => item.kind === "address" || (item.kind === "rule" && item.chain === "INPUT");
  const report = await keep(node, CONFIG, { holds: held });
  assertEquals(node.dump(), SYNCED.replaceAll(/^.*(address|INPUT).*\n/gm, ""));
  assertEquals(
    report.items.filter(({ after }) => !after?.ok).map(({ item }) => item),
    report.items.map(({ item }) => item).filter(held),
  );
});

Deno.test("pass() sets the rules when the address cannot be, and the address when the rules cannot", async () => {
  const noIp = new FakeNode();
  noIp.missing.add("ip");
  const noIpReport = await keep(noIp, CONFIG);
  assertEquals(noIp.dump(), SYNCED.replace(/^ip address.*\n/, ""));
  assertEquals(noIpReport.items.slice(0, 2).map(({ before, after, error }) => [before, after, error?.message]), [
    [undefined, undefined, "Cannot run ip: not installed: Debian's package iproute2 has it"],
    [undefined, undefined, "Cannot run ip: not installed: Debian's package iproute2 has it"],
  ]);

  const noIptables = new FakeNode();
  noIptables.missing.add("iptables-restore");
  const report = await keep(noIptables, CONFIG);
  assertEquals(noIptables.dump(), "ip address add 10.96.0.2/32 dev lo scope host\n");
  assertEquals(noIptables.processes.length, 2);
  assertEquals(
    report.items.slice(2).map(({ error }) => error?.message),
    Array(5).fill("Cannot run iptables-restore: not installed: Debian's package iptables has it"),
  );
});

Deno.test("pass() gives up a command that hangs after its time, without trying its parts", async () => {
  const node = new FakeNode();
  node.hang.add("iptables-restore");
  const report = await node.clock.until(keep(node, CONFIG));
  assertEquals(node.clock.now(), 10_000);
  assertEquals(node.processes.map(({ argv }) => argv[0]), ["ip", "iptables-restore"]);
  assertEquals(node.dump(), "ip address add 10.96.0.2/32 dev lo scope host\n");
  assertEquals(
    report.items.map(({ error }) => error?.message),
    [undefined, undefined, ...Array(5).fill("Cannot run iptables-restore: no answer in 10000ms")],
  );
  assertEquals(node.running.size, 0);
});

Deno.test("pass() ends its commands when the signal aborts", async () => {
  const node = new FakeNode();
  node.hang.add("iptables-restore");
  const stop = new AbortController();
  const passing = keep(node, CONFIG, { signal: stop.signal });
  await node.clock.advance(1000);
  stop.abort();
  const report = await passing;
  assertEquals(report.items.slice(2).map(({ error }) => error?.kind), Array(5).fill("aborted"));
  assertEquals([node.processes.length, node.running.size], [2, 0]);
});

Deno.test("pass() changes nothing when the signal has aborted before", async () => {
  const node = new FakeNode();
  const report = await keep(node, CONFIG, { signal: AbortSignal.abort() });
  assertEquals([report.ok, node.dump(), node.running.size], [false, "", 0]);
  assertEquals(report.items.map(({ error }) => error?.kind), Array(7).fill("aborted"));
});

Deno.test("pass() reports a listing that it cannot read", async () => {
  const node = new FakeNode();
  node.garble.set("ip", "BusyBox v1.36\n").set("iptables-restore", "-P NONSENSE ACCEPT\n# end of listing\n");
  const report = await keep(node, CONFIG);
  assertEquals(report.ok, false);
  const [link, address, ...rules] = report.items.map(({ after, error }) => [after, error?.kind, error?.message]);
  assertEquals(link?.slice(0, 2), [undefined, "other"]);
  assertEquals(address, link);
  const unread = "Cannot run iptables-restore: Cannot read the listing of iptables: 0 chains instead of 2";
  assertEquals(rules, Array(5).fill([undefined, "other", unread]));
  assertEquals(node.running.size, 0);
});

Deno.test("pass() says so when another program removes again what it put in", async () => {
  const node = new FakeNode();
  node.lose.push(/INPUT/, /ip address add/);
  const report = await keep(node, CONFIG);
  assertEquals(report.ok, false);
  assertEquals(
    report.items.filter(({ after }) => !after?.ok).map((
      { item, after, error },
    ) => [itemName(item), after?.state, error]),
    [
      ["10.96.0.2/32", "missing", undefined],
      ["filter INPUT -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j ACCEPT", "missing", undefined],
    ],
  );
  assertEquals(node.dump(), SYNCED.replaceAll(/^.*(ip address|INPUT).*\n/gm, ""));
});

Deno.test("pass() starts a bounded number of processes when everything is refused", async () => {
  const node = new FakeNode();
  node.refuse.push([/-I/, "Invalid argument"]);
  const ports = Array.from({ length: 100 }, (_, index) => 1000 + index).join(",");
  const report = await keep(node, configFrom(`--ip-address=10.96.0.2 --setup-iptables --port=${ports}`));
  assert(node.processes.length <= 66, `${node.processes.length} processes`);
  assertEquals(report.items.filter(({ error }) => error === undefined).map(({ item }) => itemName(item)), [
    "lo",
    "10.96.0.2/32",
  ]);
});

Deno.test("merge() makes several reports one", () => {
  const report = (name: string, ok: boolean, duration: number): Report => ({
    commands: [],
    items: [{ item: { kind: "link", name }, before: undefined, after: undefined, error: undefined }],
    ok,
    duration,
  });
  const merged = merge([report("a", true, 3), report("b", false, 2)]);
  assertEquals([merged.items.map(({ item }) => itemName(item)), merged.ok, merged.duration], [["a", "b"], false, 3]);
  assertEquals(merge([report("a", true, 1), report("b", true, 2)]).ok, true);
});

for (const seed of [1, 2, 3, 4, 5, 6]) {
  Deno.test(`pass() brings a node back to order after random harm (seed ${seed})`, async () => {
    const random = new Random(seed);
    const node = new FakeNode("ip link add name eth0 type veth\nip link set dev eth0 up");
    node.backend = seed % 2 === 0 ? "nft" : "legacy";
    node.modern = seed % 3 === 0;
    const wanted = desired(DUAL, "present");
    for (let step = 0; step < 60; step++) {
      const harms = Array.from({ length: random.between(1, 5) }, () => harm(node, wanted, random));
      const before = node.dump();
      const report = await keep(node, DUAL);
      const what = `step ${step} after ${harms.join("; ")}`;
      assertEquals(report.ok, true, what);
      const after = node.dump();
      assertEquals(foreignLines(after, node), foreignLines(before, node), what);
      assertEquals(ownLines(after, node), wantedLines(wanted, node), what);
      assertOnTop(before, after, node, what);

      const from = node.processes.length;
      await keep(node, DUAL);
      assertEquals(node.processes.slice(from).map(({ argv }) => argv[0]), [
        "ip",
        "iptables-restore",
        "ip6tables-restore",
      ]);
      assertEquals(node.processes.slice(from).some(({ stdin }) => CHANGE.test(stdin)), false, what);
      assertEquals(node.dump(), after, what);
    }
    const foreign = foreignLines(node.dump(), node).filter((line) => !line.includes("dummy0"));
    assertEquals((await keep(node, DUAL, {}, "absent")).ok, true);
    assertEquals(foreignLines(node.dump(), node).filter((line) => !line.includes("dummy0")), foreign);
    // Our link stays as long as it carries an address of others.
    const carries = foreignLines(node.dump(), node).some((line) => /^ip address add .* dev dummy0\b/.test(line));
    assertEquals(ownLines(node.dump(), node).map((line) => line.split(" dummy0")[0]), carries ? LINK : []);
    assertEquals(node.running.size, 0);
  });
}

async function keep(
  node: FakeNode,
  config: Config,
  options: Partial<PassOptions> = {},
  want: Desired["want"] = "present",
): Promise<Report> {
  await using sessions = new Sessions(node, node.clock);
  const wanted = desired(config, want);
  const commandTimeout = 10_000;
  const tools = [addressTool(wanted), ...rulesTools(wanted, undefined, { commandTimeout })];
  return await pass(tools, { sessions, commandTimeout, ...options });
}

/** Does something to the node that another program could do. */
function harm(node: FakeNode, wanted: Desired, random: Random): string {
  const rule = random.pick(wanted.rules);
  const program = `${rule.family === 4 ? "iptables" : "ip6tables"}-${node.backend} -t ${rule.table}`;
  const count = node.dump().split(`${program} -A ${rule.chain} `).length - 1;
  const place = random.between(1, count + 1);
  const spec = random.below(10) < 3 ? rule.spec.replace("-j NOTRACK", "-j CT --notrack") : rule.spec;
  const address = random.pick(wanted.addresses);
  const full = `${address.ip}/${address.family === 4 ? 32 : 128}`;
  const foreign = address.family === 4 ? `10.${random.below(250)}.0.7/32` : `fd00:${random.below(999)}::7/128`;
  const lines = random.pick([
    `${program} -D ${rule.chain} ${spec}`,
    `${program} -D ${rule.chain} ${1 + (count === 0 ? 0 : random.below(count))}`,
    `${program} -F ${rule.chain}`,
    `${program} -I ${rule.chain} ${place} ${spec}`,
    `${program} -I ${rule.chain} ${place} ${spec}\n${program} -I ${rule.chain} ${spec}\n${program} -A ${rule.chain} ${spec}`,
    `${program} -I ${rule.chain} ${place} -p udp -m udp --dport ${random.below(60_000)} -j ACCEPT`,
    `${program} -I ${rule.chain} ${place} ${rule.spec.replace(" -j", " -m comment --comment theirs -j")}`,
    `ip address del ${full} dev dummy0`,
    `ip address add ${full} dev eth0`,
    `ip address add ${full} dev lo`,
    `ip address del ${full} dev dummy0\nip address add ${full} dev dummy0 valid_lft 60 preferred_lft 30`,
    `ip address del ${full} dev dummy0\nip address add ${full} dev dummy0 scope link broadcast ${address.ip}`,
    `ip address add ${foreign} dev ${random.pick(["dummy0", "eth0", "lo"])}`,
    "ip link set dev dummy0 down",
    "ip link del dev dummy0",
    "ip link set dev eth0 down\nip link set dev eth0 up",
  ]);
  try {
    node.apply(lines);
  } catch (error) {
    // What is already so cannot be made so again.
    if (!(error instanceof Error) || /does not know/.test(error.message)) throw error;
  }
  return lines;
}

function isOwn(line: string, node: FakeNode): boolean {
  const wanted = desired(DUAL, "present");
  const [, program, table, chain, spec = ""] = /^(\S+) -t (\S+) -A (\S+) (.*)$/.exec(line) ?? [];
  return wanted.rules.some((rule) =>
    program === `${rule.family === 4 ? "iptables" : "ip6tables"}-${node.backend}` &&
    table === rule.table && chain === rule.chain && normaliseSpec(spec) === rule.spec
  ) || /(10\.96\.0\.2\/32|fd00:96::2\/128) dev|link .* dummy0\b/.test(line);
}

function foreignLines(dump: string, node: FakeNode): readonly string[] {
  return dump.trimEnd().split("\n").filter((line) => !isOwn(line, node));
}

/** In any order, and NOTRACK in one spelling. */
function ownLines(dump: string, node: FakeNode): readonly string[] {
  return dump.trimEnd().split("\n").filter((line) => isOwn(line, node)).map(normaliseSpec).toSorted();
}

function wantedLines({ rules }: Desired, { backend }: FakeNode): readonly string[] {
  return [
    "ip link add name dummy0 type dummy",
    "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
    "ip address add 10.96.0.2/32 dev dummy0 scope global",
    "ip address add fd00:96::2/128 dev dummy0 nodad",
    ...rules.map(({ family, table, chain, spec }) =>
      `${family === 4 ? "iptables" : "ip6tables"}-${backend} -t ${table} -A ${chain} ${spec}`
    ),
  ].toSorted();
}

/** Where none of a chain's rules stood before, they stand on top, in their order. */
function assertOnTop(before: string, after: string, node: FakeNode, what: string): void {
  const { rules } = desired(DUAL, "present");
  for (const { family, table, chain } of rules) {
    const prefix = `${family === 4 ? "iptables" : "ip6tables"}-${node.backend} -t ${table} -A ${chain} `;
    const listed = (dump: string) =>
      dump.split("\n").filter((line) => line.startsWith(prefix)).map((line) =>
        normaliseSpec(line.slice(prefix.length))
      );
    const own = rules.filter((rule) => rule.family === family && rule.table === table && rule.chain === chain)
      .map(({ spec }) => spec);
    if (listed(before).some((spec) => own.includes(spec))) continue;
    assertEquals(listed(after).slice(0, own.length), own, what);
  }
}

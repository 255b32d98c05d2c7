import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { ChangeLog } from "../../lib/report/change_log.ts";
import type { Cause } from "../../lib/reconcile/observer.ts";
import { pass, tools } from "../support/passes.ts";
import { fakeLog } from "../support/fake_log.ts";
import { reportOf } from "../support/reports.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { FROM, TO } from "../support/texts.ts";

const FLAGS = "--ip-address=10.96.0.2 --setup-iptables";
const ADDED = [
  `I Added rule rule="raw PREROUTING ${TO} -j NOTRACK" cause="start"`,
  `I Added rule rule="raw OUTPUT ${TO} -j NOTRACK" cause="start"`,
  `I Added rule rule="raw OUTPUT ${FROM} -j NOTRACK" cause="start"`,
  `I Added rule rule="filter INPUT ${TO} -j ACCEPT" cause="start"`,
  `I Added rule rule="filter OUTPUT ${FROM} -j ACCEPT" cause="start"`,
];

Deno.test("ChangeLog tells each change once, and nothing of a pass without any", async () => {
  await using log = await capture();
  const node = new FakeNode();
  const changes = new ChangeLog("present", node.clock.now);
  assertEquals(await log.during(() => keep(node, changes, { cause: "start" })), [
    'I Added address address="10.96.0.2/32" interface="lo" cause="start"',
    ...ADDED,
  ]);
  assertEquals(await log.during(() => keep(node, changes)), []);
});

Deno.test("ChangeLog tells what was there instead", async () => {
  await using log = await capture();
  const node = new FakeNode(`
    ip link add name dummy0 type dummy
    ip link set dev dummy0 alias apiserver-proxy-sidecar
    ip address add 10.96.0.2/32 dev dummy0 broadcast 10.96.0.2
    ip address add 10.96.0.2/32 dev lo scope host`);
  const changes = new ChangeLog("present", node.clock.now);
  await keep(node, changes, { flags: `${FLAGS} --interface=dummy0` });
  node.apply(`iptables-nft -A INPUT ${TO} -j ACCEPT\niptables-nft -A INPUT ${TO} -j ACCEPT`);
  node.apply("ip link set dev dummy0 down\nip address add 10.96.0.2/32 dev lo scope host");
  assertEquals(await log.during(() => keep(node, changes, { flags: `${FLAGS} --interface=dummy0`, cause: "event" })), [
    'I Brought up link interface="dummy0" found="down" cause="event"',
    'I Brought back to one address address="10.96.0.2/32" interface="dummy0" found="also as /32 on lo" ' +
    'removed="10.96.0.2/32 on lo" cause="event"',
    `I Brought back to one rule rule="filter INPUT ${TO} -j ACCEPT" found="3 copies" cause="event"`,
  ]);
});

Deno.test("ChangeLog tells what was removed", async () => {
  await using log = await capture();
  const node = new FakeNode(`
    ip address add 10.96.0.2/32 dev lo scope host
    iptables-nft -A INPUT ${TO} -j ACCEPT
    iptables-nft -A INPUT ${TO} -j ACCEPT`);
  const changes = new ChangeLog("absent", node.clock.now);
  assertEquals(await log.during(() => keep(node, changes, { want: "absent", cause: "start" })), [
    'I Removed address address="10.96.0.2/32" interface="lo" cause="start"',
    `I Removed rule rule="filter INPUT ${TO} -j ACCEPT" found="2 copies" cause="start"`,
  ]);
});

Deno.test("ChangeLog tells a problem that lasts once, then counts it, and says when it is over", async () => {
  await using log = await capture();
  const node = new FakeNode();
  const changes = new ChangeLog("present", node.clock.now);
  node.missing.add("ip");
  const missing = 'err="Cannot run ip: not installed: Debian\'s package iproute2 has it"';
  assertEquals(await log.during(() => keep(node, changes, { cause: "start" })), [
    ...ADDED,
    `E Cannot keep link and address ${missing} items="lo; 10.96.0.2/32" found="unknown"`,
  ]);
  for (let second = 1; second < 60; second++) {
    await node.clock.advance(1000);
    assertEquals(await log.during(() => keep(node, changes)), []);
  }
  await node.clock.advance(1000);
  assertEquals(await log.during(() => keep(node, changes)), [
    `E Cannot keep link and address: still failing, 61 times in 1m ${missing} items="lo; 10.96.0.2/32" found="unknown"`,
  ]);
  node.missing.clear();
  assertEquals(await log.during(() => keep(node, changes)), [
    'I Added address address="10.96.0.2/32" interface="lo" cause="interval"',
    'I A problem is over items="lo; 10.96.0.2/32" failed="61 times in 1m"',
  ]);
  assertEquals(await log.during(() => keep(node, changes)), []);
});

Deno.test("ChangeLog tells a problem anew when its reason is another, and when it comes back", async () => {
  await using log = await capture();
  const node = new FakeNode();
  const changes = new ChangeLog("present", node.clock.now);
  const flags = "--ip-address=10.96.0.2";
  const refuse = async (...said: string[]) => {
    node.refuse.splice(0, 1, ...said.map((text) => [/^address add/, text] as const));
    return await log.during(() => keep(node, changes, { flags }));
  };
  const invalid = 'E Cannot keep address err="Cannot run ip: RTNETLINK answers: Invalid argument" ' +
    'address="10.96.0.2/32" interface="lo" found="missing"';
  const over = 'I A problem is over address="10.96.0.2/32" interface="lo" failed="1 time in 0s"';
  assertEquals(await refuse("RTNETLINK answers: Invalid argument"), [invalid]);
  assertEquals(await refuse("RTNETLINK answers: Device or resource busy"), [
    invalid.replace("Invalid argument", "Device or resource busy"),
  ]);
  assertEquals(await refuse(), ['I Added address address="10.96.0.2/32" interface="lo" cause="interval"', over]);
  node.apply("ip address del 10.96.0.2/32 dev lo");
  assertEquals(await refuse("RTNETLINK answers: Invalid argument"), [invalid]);
});

Deno.test("ChangeLog tells rules with one problem in one record, and names a few of them", async () => {
  await using log = await capture();
  const node = new FakeNode();
  node.missing.add("iptables-restore");
  const changes = new ChangeLog("present", node.clock.now);
  const flags = `${FLAGS} --port=443,444`;
  const names = desired(configFrom(flags), "present").rules.slice(0, 5)
    .map(({ table, chain, spec }) => `${table} ${chain} ${spec}`);
  assertEquals(await log.during(() => keep(node, changes, { flags })), [
    'I Added address address="10.96.0.2/32" interface="lo" cause="interval"',
    'E Cannot keep rules err="Cannot run iptables-restore: not installed: Debian\'s package iptables has it" ' +
    `items="${names.join("; ")}; and 5 more" found="unknown"`,
  ]);
});

Deno.test("ChangeLog says what is left when something cannot be removed", async () => {
  await using log = await capture();
  const node = new FakeNode(`iptables-nft -A INPUT ${TO} -j ACCEPT`);
  node.refuse.push([/^-D/, "Invalid argument"]);
  const changes = new ChangeLog("absent", node.clock.now);
  assertEquals(await log.during(() => keep(node, changes, { want: "absent" })), [
    'E Cannot remove rule err="Cannot run iptables-restore: iptables-restore: line 6 failed: Invalid argument" ' +
    `rule="filter INPUT ${TO} -j ACCEPT" found="unknown"`,
  ]);
});

Deno.test("ChangeLog tells what another program takes away, without an error to show", async () => {
  await using log = await capture();
  const node = new FakeNode();
  node.lose.push(/INPUT/);
  const changes = new ChangeLog("present", node.clock.now);
  assertEquals((await log.during(() => keep(node, changes))).slice(-1), [
    `E Cannot keep rule rule="filter INPUT ${TO} -j ACCEPT" found="missing"`,
  ]);
});

Deno.test("ChangeLog is silent about a fight that is damped, but for errors", async () => {
  await using log = await capture();
  const node = new FakeNode();
  const changes = new ChangeLog("present", node.clock.now);
  assertEquals(await log.during(() => keep(node, changes, { damped: true })), []);
  node.lose.push(/INPUT/);
  node.apply(`iptables-nft -D INPUT ${TO} -j ACCEPT`);
  assertEquals(await log.during(() => keep(node, changes, { damped: true })), []);
  node.lose.pop();
  node.missing.add("iptables-restore");
  assertEquals((await log.during(() => keep(node, changes, { damped: true }))).length, 1);
});

Deno.test("ChangeLog tells each pass in one line at -v=2", async () => {
  await using log = await capture(2);
  const node = new FakeNode();
  const changes = new ChangeLog("present", node.clock.now);
  await keep(node, changes);
  const lines = await log.during(() => keep(node, changes, { cause: "event" }));
  assertEquals(lines.map((line) => line.replace(/\d+\.\dms/, "Nms")), [
    'I Made a pass cause="event" ok=true duration="Nms"',
  ]);
});

Deno.test("ChangeLog tells a warning once, and anew when it is another or comes back", async () => {
  await using log = await capture();
  const changes = new ChangeLog("present", () => 0);
  const tell = (warning?: string) =>
    log.during(() => {
      const more = warning === undefined ? {} : { warning };
      changes.onPass(reportOf(configFrom(FLAGS), { address: { more } }), { cause: "interval" });
    });
  const told = 'W The node\'s own: left as it is address="10.96.0.2/32" interface="lo"';
  assertEquals(await tell("the node's own: left as it is"), [told]);
  assertEquals(await tell("the node's own: left as it is"), []);
  assertEquals(await tell("other"), ['W Other address="10.96.0.2/32" interface="lo"']);
  assertEquals(await tell(), []);
  assertEquals(await tell("the node's own: left as it is"), [told]);
});

Deno.test("ChangeLog names what a repair removed", async () => {
  await using log = await capture();
  const changes = new ChangeLog("present", () => 0);
  const more = { verb: "added", removes: ["10.96.0.2/24 on eth0", "10.96.0.2/32 on eth1"] };
  const report = reportOf(configFrom(FLAGS), { address: { before: "missing", more } });
  assertEquals(await log.during(() => changes.onPass(report, { cause: "event" })), [
    'I Added address address="10.96.0.2/32" interface="lo" ' +
    'removed="10.96.0.2/24 on eth0, 10.96.0.2/32 on eth1" cause="event"',
  ]);
});

interface KeepOptions {
  readonly flags?: string;
  readonly want?: "present" | "absent";
  readonly cause?: Cause;
  readonly damped?: boolean;
}

/** Makes a pass, and tells the changes of it. */
async function keep(node: FakeNode, changes: ChangeLog, options: KeepOptions = {}): Promise<void> {
  const { flags = FLAGS, want = "present", cause = "interval", damped = false } = options;
  const place = { runner: node, commandTimeout: 1000 };
  const { addresses, rules } = tools(place, desired(configFrom(flags), want));
  const report = await pass(place, [addresses, ...rules]);
  changes.onPass({ ...report, items: report.items.map((item) => ({ ...item, damped })) }, { cause });
}

/** What is logged while something is done, as the severity and the text. */
async function capture(verbosity = 0) {
  const log = await fakeLog(verbosity);
  const during = async (work: () => void | Promise<void>) => {
    log.take();
    await work();
    return log.take();
  };
  return { during, [Symbol.asyncDispose]: () => log[Symbol.asyncDispose]() };
}

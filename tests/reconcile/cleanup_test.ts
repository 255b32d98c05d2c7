import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { cleanup } from "../../lib/reconcile/cleanup.ts";
import type { Backend } from "../../lib/node/iptables.ts";
import { ChangeLog } from "../../lib/report/change_log.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { FROM, TO } from "../support/texts.ts";

const FLAGS = "--ip-address=10.96.0.2 --interface=dummy0 --setup-iptables";
const LINK = `ip link add name dummy0 type dummy
ip link set dev dummy0 alias apiserver-proxy-sidecar up
`;
const ADDRESS = "ip address add 10.96.0.2/32 dev dummy0 scope global\n";
const RULES = `iptables-nft -t raw -A OUTPUT ${TO} -j NOTRACK
iptables-nft -t raw -A OUTPUT ${FROM} -j NOTRACK
iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK
iptables-nft -t filter -A INPUT ${TO} -j ACCEPT
iptables-nft -t filter -A OUTPUT ${FROM} -j ACCEPT
`;
const FOREIGN = `ip link add name eth0 type veth
ip link set dev eth0 up
ip address add 10.1.0.1/24 dev eth0 scope global
iptables-nft -t raw -A OUTPUT -p icmp -j ACCEPT
iptables-nft -t filter -P INPUT DROP
iptables-nft -t filter -A INPUT ${TO} -m comment --comment theirs -j ACCEPT
`;

Deno.test("cleanup() removes the rules, then the address, then the link, and nothing of others", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES + FOREIGN);
  assertEquals(await clean(node), true);
  assertEquals(node.dump(), FOREIGN);
  assertEquals(node.processes.map(({ argv }) => argv[0]), ["iptables-nft-restore", "ip"]);
  const changes = node.processes.flatMap(({ stdin }) =>
    stdin.split("\n").filter((line) => /^(-[AID]|address [^s]|link)/.test(line))
  );
  assertEquals(changes, [
    `-D PREROUTING ${TO} -j NOTRACK`,
    `-D OUTPUT ${TO} -j NOTRACK`,
    `-D OUTPUT ${FROM} -j NOTRACK`,
    `-D INPUT ${TO} -j ACCEPT`,
    `-D OUTPUT ${FROM} -j ACCEPT`,
    "address del 10.96.0.2/32 dev dummy0",
    "link del dev dummy0",
  ]);
  assertEquals(node.running.size, 0);
});

Deno.test("cleanup() only looks when everything is gone already", async () => {
  for (const state of [FOREIGN, LINK.replace(" alias apiserver-proxy-sidecar", "") + FOREIGN]) {
    const node = new FakeNode(state);
    const before = node.dump();
    assertEquals(await clean(node), true);
    assertEquals(node.dump(), before);
    assertEquals(node.processes.map(({ argv }) => argv[0]), ["iptables-nft-restore", "ip"]);
    assertEquals(node.processes.some(({ stdin }) => /^(-[AID]|address [^s]|link)/m.test(stdin)), false);
  }
});

Deno.test("cleanup() succeeds when a part is gone already", async () => {
  for (const state of [LINK, LINK + ADDRESS, RULES, LINK + RULES]) {
    const node = new FakeNode(state + FOREIGN);
    assertEquals(await clean(node), true, state);
    assertEquals(node.dump(), FOREIGN, state);
  }
});

Deno.test("cleanup() removes copies of the rules, in every back end it is told", async () => {
  const both = RULES + RULES + RULES.replaceAll("-nft", "-legacy").replaceAll("-j NOTRACK", "-j CT --notrack");
  const node = new FakeNode(both + FOREIGN);
  assertEquals(await clean(node, ["nft", "legacy"]), true);
  assertEquals(node.dump(), FOREIGN);
});

Deno.test("cleanup() leaves the rules alone without --setup-iptables", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  assertEquals(await clean(node, ["nft"], "--ip-address=10.96.0.2 --interface=dummy0"), true);
  assertEquals(node.dump(), RULES);
  assertEquals(node.processes.map(({ argv }) => argv[0]), ["ip"]);
});

Deno.test("cleanup() removes the address and the link when no rule can be deleted, and ends", async () => {
  for (const backend of ["nft", "legacy"] as const) {
    const rules = RULES.replaceAll("-nft", `-${backend}`);
    const node = new FakeNode(LINK + ADDRESS + rules);
    node.refuse.push([/^-D/, "Invalid argument"]);
    assertEquals(await clean(node, [backend]), false);
    assertEquals(node.dump(), rules);
    assertLessOrEqual(node.clock.now(), 10_000);
    assertLessOrEqual(node.processes.length, 100);
  }
});

Deno.test("cleanup() removes what it can when one rule cannot be deleted", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  node.refuse.push([/^-D INPUT/, "Invalid argument"]);
  assertEquals(await clean(node), false);
  assertEquals(node.dump(), `iptables-nft -t filter -A INPUT ${TO} -j ACCEPT\n`);
});

Deno.test("cleanup() removes rules and link when the address cannot be removed", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES + FOREIGN);
  node.refuse.push([/^address del/, "RTNETLINK answers: Invalid argument"]);
  await clean(node);
  assertEquals(node.dump(), FOREIGN);
});

Deno.test("cleanup() does not put back what another program puts back", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  node.refuse.push([/^(-[AI]|address add|link add)/, "cleanup() must create nothing"]);
  assertEquals(await clean(node), true);
  assertEquals(node.dump(), "");
});

Deno.test("cleanup() waits for the xtables lock", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES.replaceAll("-nft", "-legacy"));
  node.lockedUntil = 3000;
  assertEquals(await clean(node, ["legacy"]), true);
  assertEquals(node.dump(), "");
  assertLessOrEqual(node.clock.now(), 6000);
});

Deno.test("cleanup() ends within 10 s when the xtables lock is held for ever, with the address gone", async () => {
  const rules = RULES.replaceAll("-nft", "-legacy");
  const node = new FakeNode(LINK + ADDRESS + rules);
  node.lockedUntil = Infinity;
  assertEquals(await clean(node, ["legacy"]), false);
  assertEquals(node.dump(), rules);
  assertLessOrEqual(node.clock.now(), 9000);
});

for (const program of ["iptables-nft-restore", "ip"]) {
  Deno.test(`cleanup() ends within 10 s when ${program} hangs, with the rest gone`, async () => {
    const node = new FakeNode(LINK + ADDRESS + RULES);
    node.hang.add(program);
    assertEquals(await clean(node), false);
    assertEquals(node.dump(), program === "ip" ? LINK + ADDRESS : RULES);
    // Killing what hangs takes up to another second.
    assertLessOrEqual(node.clock.now(), 9000);
    assertEquals(node.running.size, 0);
  });
}

Deno.test("cleanup() ends within 10 s when everything hangs, having tried everything", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  node.hang.add("ip").add("iptables-nft-restore");
  assertEquals(await clean(node), false);
  assertLessOrEqual(node.clock.now(), 9000);
  assertEquals(new Set(node.processes.map(({ argv }) => argv[0])), new Set(["iptables-nft-restore", "ip"]));
});

Deno.test("cleanup() ends within 10 s when each answer takes 3.5 s, having tried everything", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  node.slow.set("iptables-nft-restore", 3500).set("ip", 500);
  await clean(node);
  assert(!node.dump().includes("10.96.0.2/32 dev"), node.dump());
  assertLessOrEqual(node.clock.now(), 9000);
});

Deno.test("cleanup() ends within 10 s when each answer takes 3 s and no rule can be deleted", async () => {
  const node = new FakeNode(LINK + ADDRESS + RULES);
  node.slow.set("iptables-nft-restore", 3000);
  node.refuse.push([/^-D/, "Invalid argument"]);
  assertEquals(await clean(node), false);
  assertLessOrEqual(node.clock.now(), 9000);
  assertEquals(node.dump(), RULES);
});

function clean(node: FakeNode, backends: readonly Backend[] = ["nft"], flags = FLAGS): Promise<boolean> {
  const { clock } = node;
  const observer = new ChangeLog("absent", clock.now);
  const wanted = desired(configFrom(flags), "present");
  return clock.until(cleanup(wanted, { runner: node, clock, commandTimeout: 10_000, observer, backends }));
}

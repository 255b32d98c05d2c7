import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { addressMonitor, type Monitor, ruleMonitor } from "../../lib/daemon/watch.ts";
import { configOf } from "../support/reports.ts";

// As iproute2 6.1 and nftables 1.0.6 print them.
const FOREVER = "\\       valid_lft forever preferred_lft forever";
const UP =
  "<BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default \\    link/ether 3e:f8:4b:5c:27:6c";

Deno.test("addressMonitor() watches addresses and links", () => {
  const { argv, scope } = monitorOf();
  assertEquals({ argv, scope }, { argv: ["ip", "-o", "monitor", "address", "link"], scope: "addresses" });
});

Deno.test("addressMonitor() takes lines about our addresses and our link for ours", () => {
  const dual = monitorOf("--ip-address=fd00::2", "--interface=nodeproxy");
  assertConcerns(dual, [
    `Deleted 3: nodeproxy    inet 10.96.0.2/32 scope global nodeproxy${FOREVER}`,
    `3: nodeproxy    inet 10.96.0.2/32 scope global nodeproxy${FOREVER}`,
    `3: nodeproxy    inet6 fd00::2/128 scope global tentative ${FOREVER}`,
    `Deleted 3: nodeproxy    inet6 fd00::2/128 scope global ${FOREVER}`,
    `2: eth0    inet 10.96.0.2/32 scope global eth0${FOREVER}`,
    `2: eth0    inet 10.96.0.2 peer 10.0.0.9/32 scope global eth0${FOREVER}`,
    `2: eth0    inet6 fd00::2/64 scope global ${FOREVER}`,
    `3: nodeproxy    inet 192.0.2.1/24 brd 192.0.2.255 scope global secondary nodeproxy${FOREVER}`,
    `3: nodeproxy: ${UP}`,
    `Deleted 3: nodeproxy: ${UP}`,
    `3: nodeproxy@if7: ${UP}`,
    `Deleted 3: nodeproxy@NONE: ${UP}`,
  ], true);
});

Deno.test("addressMonitor() takes other lines for other people's", () => {
  const dual = monitorOf("--ip-address=fd00::2", "--interface=nodeproxy");
  assertConcerns(dual, [
    "",
    "Deleted",
    `Deleted 2: eth0    inet 10.96.0.20/32 scope global eth0${FOREVER}`,
    `Deleted 2: eth0    inet 110.96.0.2/32 scope global eth0${FOREVER}`,
    `Deleted 2: eth0    inet 10.96.0.1/24 brd 10.96.0.255 scope global eth0${FOREVER}`,
    `Deleted 2: eth0    inet 10.9600.2/32 scope global eth0${FOREVER}`,
    `Deleted 2: eth0    inet6 fd00::20/128 scope global ${FOREVER}`,
    `Deleted 2: eth0    inet6 fd00::1:fd00:2/128 scope global ${FOREVER}`,
    `Deleted 2: eth0    inet6 2001:fd00::2/128 scope global ${FOREVER}`,
    `4: nodeproxy0: ${UP}`,
    `4: my-nodeproxy: ${UP}`,
    `4: nodeproxy.100@eth0: ${UP}`,
    `4: nodeproxy-1    inet 192.0.2.1/24 scope global nodeproxy-1${FOREVER}`,
    "Failed to send flush request: No such process",
  ], false);
});

Deno.test(
  "addressMonitor() does not take fd00::2:1 for fd00::2",
  () => {
    const dual = monitorOf("--ip-address=fd00::2", "--interface=nodeproxy");
    assertConcerns(dual, [`Deleted 2: eth0    inet6 fd00::2:1/128 scope global ${FOREVER}`], false);
  },
);

Deno.test("addressMonitor() takes the name of a link for itself, whatever stands in it", () => {
  const names: readonly (readonly [string, string])[] = [
    ["eth0.100", "eth0x100"],
    ["a-b", "a-bc"],
    ["(x)+?", "xx"],
    ["[a]", "a"],
    ["$^|*", "eth0"],
    ["{1}", "1"],
    ["nöd😀", "nöd"],
  ];
  for (const [name, other] of names) {
    const monitor = monitorOf(`--interface=${name}`);
    assertConcerns(monitor, [`3: ${name}: ${UP}`, `3: ${name}@if2: ${UP}`, `3: ${name}    inet 192.0.2.1/32`], true);
    assertConcerns(monitor, [`3: ${other}: ${UP}`, `3: ${other}    inet 192.0.2.1/32 scope global ${other}`], false);
  }
});

Deno.test("addressMonitor() takes every line about lo for ours when that is the interface", () => {
  assertConcerns(monitorOf(), [
    "1: lo: <LOOPBACK> mtu 65536 qdisc noqueue state DOWN group default \\    link/loopback 00:00:00:00:00:00 brd",
    `Deleted 1: lo    inet6 ::1/128 scope host ${FOREVER}`,
    `1: lo    inet 10.96.0.20/32 scope global lo${FOREVER}`,
  ], true);
  assertConcerns(monitorOf(), [`2: lo0: ${UP}`, `2: flo    inet 10.0.0.7/24 scope global flo${FOREVER}`], false);
});

Deno.test("ruleMonitor() watches what goes", () => {
  const { argv, scope } = ruleMonitor();
  assertEquals({ argv, scope }, { argv: ["nft", "monitor", "destroy"], scope: "rules" });
});

Deno.test("ruleMonitor() takes what goes from our chains and tables for ours", () => {
  const lines = ["ip", "ip6"].flatMap((family) => [
    ...["raw PREROUTING", "raw OUTPUT", "filter INPUT", "filter OUTPUT"].flatMap((chain) => [
      `delete rule ${family} ${chain} handle 12`,
      `delete chain ${family} ${chain}`,
    ]),
    `delete table ${family} raw`,
    `delete table ${family} filter`,
  ]);
  assertConcerns(ruleMonitor(), lines, true);
});

Deno.test("ruleMonitor() takes other lines for other people's", () => {
  assertConcerns(ruleMonitor(), [
    "",
    "delete",
    "delete rule ip nat OUTPUT handle 2",
    "delete rule ip mangle PREROUTING handle 2",
    "delete rule ip filter FORWARD handle 2",
    "delete rule ip filter KUBE-FIREWALL handle 2",
    "delete rule ip filter INPUT_direct handle 2",
    "delete rule inet filter INPUT handle 2",
    "delete chain ip filter FOO",
    "delete table ip rawx",
    "delete table ip6 nat",
    "delete table inet filter",
    "delete table bridge filter",
    "add rule ip raw PREROUTING ip daddr 10.96.0.2 tcp dport 443 notrack",
    "# new generation 7 by process 4711 (iptables-nft-re)",
    'delete element ip filter set { "delete rule ip raw PREROUTING" }',
    " delete rule ip raw PREROUTING handle 12",
  ], false);
});

function monitorOf(...flags: string[]): Monitor {
  return addressMonitor(desired(configOf(...flags), "present"));
}

function assertConcerns({ concerns }: Monitor, lines: readonly string[], expected: boolean): void {
  assertEquals(lines.filter((line) => concerns(line) !== expected), []);
}

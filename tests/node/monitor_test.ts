import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import {
  addressMonitor,
  findRuleMonitors,
  isListening,
  type LineKind,
  type Monitor,
  NFT_MONITOR,
} from "../../lib/node/monitor.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

// As iproute2 6.1 and nftables 1.0.6 print them.
const FOREVER = "\\       valid_lft forever preferred_lft forever";
const UP =
  "<BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default \\    link/ether 3e:f8:4b:5c:27:6c";

Deno.test("addressMonitor() watches addresses and links", () => {
  assertEquals(monitorOf().argv, ["ip", "-o", "monitor", "address", "link"]);
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

Deno.test("addressMonitor() knows a loss, and what it does not understand", () => {
  assertKinds(monitorOf(), {
    lost: [
      "netlink receive error No buffer space available (105)",
      "Error: Could not receive message: No buffer space available",
    ],
    unknown: ["", "garbage", "    link/ether 02:00:00:00:00:01", "Dump terminated"],
  });
});

const IPV4 = "--ip-address=10.96.0.2";
const IPV6 = "--ip-address=fd00:96::2";

/** What is taken with this release of iptables: the best first. */
async function monitorsOf(
  release: string,
  flags: string,
  prepare = (_node: FakeNode) => {},
): Promise<readonly Monitor[]> {
  const node = new FakeNode();
  node.release = release;
  prepare(node);
  return await findRuleMonitors(desired(configFrom(flags), "present"), node, { timeout: 1000 });
}

Deno.test("findRuleMonitors() takes xtables-monitor, and beside one that ends at some events nft monitor", async () => {
  const argvOf = async (release: string, flags: string) =>
    (await monitorsOf(release, flags)).map(({ argv }) => argv.join(" "));
  for (const release of ["1.8.11", "1.9.0", "2.0.0"]) {
    assertEquals(await argvOf(release, IPV4), ["xtables-monitor --event --ipv4"]);
    assertEquals(await argvOf(release, IPV6), ["xtables-monitor --event --ipv6"]);
    assertEquals(await argvOf(release, `${IPV4} ${IPV6}`), ["xtables-monitor --event"]);
  }
  const [nft, old] = [NFT_MONITOR.argv.join(" "), "stdbuf --output=L xtables-monitor --event"];
  for (const release of ["1.8.7", "1.8.9", "1.8.10"]) {
    assertEquals(await argvOf(release, IPV4), [`${old} --ipv4`, nft]);
    assertEquals(await argvOf(release, IPV6), [nft, `${old} --ipv6`]);
    assertEquals(await argvOf(release, `${IPV4} ${IPV6}`), [nft, old]);
  }
  assertEquals(await argvOf("", IPV4), [nft]);
  assertEquals(await monitorsOf("1.8.11", IPV4, ({ missing }) => missing.add("xtables-monitor")), [NFT_MONITOR]);
});

const [XTABLES_MONITOR] = await monitorsOf("1.8.11", IPV4) as [Monitor];

Deno.test("NFT_MONITOR and XTABLES_MONITOR take what goes from our chains and tables for ours", () => {
  const chains = ["raw PREROUTING", "raw OUTPUT", "filter INPUT", "filter OUTPUT"];
  assertKinds(NFT_MONITOR, {
    ours: ["ip", "ip6"].flatMap((family) => [
      ...chains.flatMap((chain) => [
        `delete rule ${family} ${chain} handle 12`,
        `destroy rule ${family} ${chain} handle 12`,
        `delete chain ${family} ${chain}`,
      ]),
      `delete table ${family} raw`,
      `delete table ${family} filter`,
    ]),
  });
  assertKinds(XTABLES_MONITOR, {
    ours: ["iptables", "ip6tables", "-4", "-6"].flatMap((program) => [
      ...chains.map((chain) => chain.split(" ")).flatMap(([table, chain]) => [
        ` EVENT: ${program} -t ${table} -D ${chain} -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j NOTRACK`,
        ` EVENT: ${program} -t ${table} -X ${chain}`,
      ]),
      ` EVENT: nft: DEL table: table raw ${/6/.test(program) ? "ip6" : "ip"} flags 0 use 0 handle 1`,
    ]),
  });
});

Deno.test("NFT_MONITOR and XTABLES_MONITOR take other lines for other people's, or for a loss", () => {
  assertKinds(NFT_MONITOR, {
    foreign: [
      "delete rule ip nat OUTPUT handle 2",
      "delete rule ip filter FORWARD handle 2",
      "delete rule ip filter INPUT_direct handle 2",
      "delete rule inet filter INPUT handle 2",
      "delete chain ip filter FOO",
      "delete table ip rawx",
      "delete table ip6 nat",
      "add rule ip raw PREROUTING ip daddr 10.96.0.2 tcp dport 443 notrack",
      "add chain ip nat PREROUTING { type nat hook prerouting priority dstnat; policy accept; }",
      "# new generation 7 by process 4711 (iptables-nft-re)",
      'delete element ip filter set { "delete rule ip raw PREROUTING" }',
    ],
    lost: ["# ERROR: We lost some netlink events!"],
    unknown: ["", "delete", " delete rule ip raw PREROUTING handle 12", "comment goes on"],
  });
  assertKinds(XTABLES_MONITOR, {
    foreign: [
      " EVENT: iptables -t nat -D PREROUTING -j KUBE-SERVICES",
      " EVENT: -4 -t nat -D PREROUTING -j KUBE-SERVICES",
      " EVENT: -4 -t raw -A PREROUTING -j KUBE-SERVICES",
      " EVENT: -0 -t filter -D INPUT -j ACCEPT",
      " EVENT: iptables -t filter -A INPUT -p udp -m udp --dport 53 -j ACCEPT",
      " EVENT: iptables -t filter -D KUBE-FIREWALL -j DROP",
      " EVENT: arptables -t filter -D INPUT -j ACCEPT",
      " EVENT: nft: NEW table: table raw ip flags 0 use 1 handle 1",
      " EVENT: nft: DEL table: table foo inet flags 0 use 0 handle 3",
      "NEWGEN: GENID=2 PID=5371 NAME=iptables-nft",
      "libxtables: unhandled NFPROTO in xtables_set_nfproto",
    ],
    lost: ["cannot receive from nfnetlink socket: No buffer space available"],
    unreadable: ["Perhaps xtables-monitor or your kernel needs to be upgraded."],
    unknown: ["", "xtables-monitor v1.8.11 (nf_tables): Parsing nftables rule failed"],
  });
});

Deno.test("isListening() is what the kernel says of the socket of a monitor", async () => {
  const node = new FakeNode();
  const ask = (pid: number) => isListening(node, NFT_MONITOR, pid, { timeout: 1000 });
  const monitor = node.start(NFT_MONITOR.argv, { timeout: Infinity, signal: AbortSignal.timeout(60_000) });
  assertEquals([await ask(monitor.pid!), await ask(monitor.pid! + 1)], [true, false]);
  node.deaf.add("nft");
  assertEquals(await ask(monitor.pid!), false);
  node.missing.add("ss");
  assertEquals(await ask(monitor.pid!), undefined);
});

Deno.test("isListening() is undefined where ss tells no groups", async () => {
  const node = new FakeNode();
  node.fail.set("ss", [0, ""]);
  assertEquals(await isListening(node, NFT_MONITOR, 1, { timeout: 1000 }), undefined);
});

function monitorOf(...flags: string[]): Monitor {
  return addressMonitor(desired(configOf(...flags), "present"));
}

function assertConcerns(monitor: Monitor, lines: readonly string[], expected: boolean): void {
  assertEquals(lines.filter((line) => (monitor.judge(line) === "ours") !== expected), []);
}

function assertKinds(monitor: Monitor, lines: Partial<Record<LineKind, readonly string[]>>): void {
  for (const [kind, own] of Object.entries(lines)) {
    assertEquals(own.map((line) => [line, monitor.judge(line)]), own.map((line) => [line, kind]));
  }
}

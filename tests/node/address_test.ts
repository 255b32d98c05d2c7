import { assertEquals, assertThrows } from "@std/assert";
import { addressTool, type AddressToolOptions } from "../../lib/node/address.ts";
import { type Desired, desired, itemName } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { pass } from "../support/passes.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { IP } from "../support/texts.ts";

const DUAL = "--ip-address=10.96.0.2,fd00:96::2";
const OURS = `
  ip link add name dummy0 type dummy
  ip link set dev dummy0 alias apiserver-proxy-sidecar up`;
const THEIRS = `
  ip link add name eth0 type veth
  ip link set dev eth0 up`;

const LOOK = "# look";
/** Looks at the link, and for `10.96.0.2` at all others. */
const EVERYWHERE = (link: string) => [`address show dev ${link}`, "address show to 10.96.0.2"];

interface Case {
  readonly name: string;
  readonly setup?: string;
  readonly flags?: string;
  readonly want?: Desired["want"];
  /** What is said of each item at first. */
  readonly found: readonly string[];
  /** What `ip` is asked each time. @default {["address show dev lo"]} */
  readonly look?: readonly string[];
  /** What `ip` is told between its two looks; {@linkcode LOOK} stands for one more. */
  readonly told: readonly string[];
  /** What is there in the end. */
  readonly dump: readonly string[];
}

const CASES: readonly Case[] = [
  {
    name: "adds addresses with scope host to lo, and creates nothing",
    flags: DUAL,
    found: ["lo present", "10.96.0.2/32 missing", "fd00:96::2/128 missing"],
    told: ["address add 10.96.0.2/32 dev lo scope host", "address add fd00:96::2/128 dev lo nodad"],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host", "ip address add fd00:96::2/128 dev lo nodad"],
  },
  {
    name: "gives the scope that was asked for",
    setup: "ip address add 10.96.0.2/32 dev lo scope host",
    flags: "--ip-address=10.96.0.2 --address-scope=global",
    found: ["lo present", "10.96.0.2/32 wrong: scope host"],
    told: ["address del 10.96.0.2/32 dev lo", "address add 10.96.0.2/32 dev lo scope global"],
    dump: ["ip address add 10.96.0.2/32 dev lo scope global"],
  },
  {
    name: "replaces an address with a broadcast address",
    setup: "ip address add 10.96.0.2/32 dev lo scope host broadcast 10.96.0.2",
    found: ["lo present", "10.96.0.2/32 wrong: broadcast 10.96.0.2"],
    told: ["address del 10.96.0.2/32 dev lo", "address add 10.96.0.2/32 dev lo scope host"],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host"],
  },
  {
    name: "makes addresses that expire permanent without removing them",
    setup: `
      ip address add 10.96.0.2/32 dev lo scope host valid_lft 60 preferred_lft 30
      ip address add fd00:96::2/128 dev lo nodad valid_lft 60 preferred_lft 0`,
    flags: DUAL,
    found: ["lo present", "10.96.0.2/32 wrong: expires", "fd00:96::2/128 wrong: expires, deprecated"],
    told: [
      "address replace 10.96.0.2/32 dev lo scope host valid_lft forever preferred_lft forever",
      "address replace fd00:96::2/128 dev lo nodad valid_lft forever preferred_lft forever",
    ],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host", "ip address add fd00:96::2/128 dev lo nodad"],
  },
  {
    name: "makes an address exact that stands with another prefix length",
    setup: "ip address add 10.96.0.2/24 dev lo scope host",
    found: ["lo present", "10.96.0.2/32 missing: also as /24 on lo"],
    told: ["address add 10.96.0.2/32 dev lo scope host", LOOK, "address del 10.96.0.2/24 dev lo"],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host"],
  },
  {
    // The kernel has an IPv6 address only once on a link: "ipv6: address already assigned".
    name: "makes an IPv6 address exact that stands with another prefix length",
    setup: "ip address add fd00:96::2/64 dev lo nodad",
    flags: "--ip-address=fd00:96::2",
    found: ["lo present", "fd00:96::2/128 wrong: prefix length 64"],
    told: ["address del fd00:96::2/64 dev lo", "address add fd00:96::2/128 dev lo nodad"],
    dump: ["ip address add fd00:96::2/128 dev lo nodad"],
  },
  {
    name: "keeps an address whose removal would take those of others with it",
    setup: `
      ip address add 10.96.0.2/24 dev lo scope host
      ip address add 10.96.0.9/24 dev lo scope host`,
    found: ["lo present", "10.96.0.2/32 missing"],
    told: ["address add 10.96.0.2/32 dev lo scope host"],
    dump: [
      "ip address add 10.96.0.2/24 dev lo scope host",
      "ip address add 10.96.0.2/32 dev lo scope host",
      "ip address add 10.96.0.9/24 dev lo scope host",
    ],
  },
  {
    name: "takes one end of a point-to-point address for another address",
    setup: `${THEIRS}
      ip address add 10.96.0.2 peer 10.96.0.9/32 dev eth0`,
    flags: "--ip-address=10.96.0.2 --interface=eth0",
    found: ["eth0 present", "10.96.0.2/32 missing"],
    look: EVERYWHERE("eth0"),
    told: ["address add 10.96.0.2/32 dev eth0 scope global"],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add 10.96.0.2 peer 10.96.0.9/32 dev eth0 scope global",
      "ip address add 10.96.0.2/32 dev eth0 scope global",
    ],
  },
  {
    name: "recognises an address that is printed with a dotted quad",
    setup: "ip address add ::1.2.3.4/128 dev lo nodad\nip address add 64:ff9b:1::6464:102/128 dev lo nodad",
    flags: "--ip-address=::1.2.3.4,64:ff9b:1::100.100.1.2",
    found: ["lo present", "::102:304/128 present", "64:ff9b:1::6464:102/128 present"],
    told: [],
    dump: ["ip address add 64:ff9b:1::6464:102/128 dev lo nodad", "ip address add ::1.2.3.4/128 dev lo nodad"],
  },
  {
    name: "creates a link, and takes the address from the others only then",
    setup: `
      ip address add 10.96.0.2/32 dev lo scope host
      ip address add 10.96.0.9/32 dev lo scope host`,
    flags: "--ip-address=10.96.0.2 --interface=dummy0",
    found: ["dummy0 missing", "10.96.0.2/32 missing: also as /32 on lo"],
    look: EVERYWHERE("dummy0"),
    told: [
      "link add name dummy0 group 10968 type dummy",
      "link set dev dummy0 group default alias apiserver-proxy-sidecar up",
      "address add 10.96.0.2/32 dev dummy0 scope global",
      LOOK,
      "address del 10.96.0.2/32 dev lo",
    ],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.2/32 dev dummy0 scope global",
      "ip address add 10.96.0.9/32 dev lo scope host",
    ],
  },
  {
    name: "leaves a link alone that another program created, and the address on the others too",
    setup: `
      ip link add name eth0 type veth
      ip address add 10.96.0.2/32 dev lo scope host`,
    flags: "--ip-address=10.96.0.2 --interface=eth0",
    found: ["eth0 wrong: down, and not this program's to bring up", "10.96.0.2/32 missing"],
    look: EVERYWHERE("eth0"),
    told: ["address add 10.96.0.2/32 dev eth0 scope global"],
    dump: [
      "ip link add name eth0 type veth",
      "ip address add 10.96.0.2/32 dev eth0 scope global",
      "ip address add 10.96.0.2/32 dev lo scope host",
    ],
  },
  {
    name: "removes the address from the others with --deduplicate=true, whoever created the link",
    setup: `${OURS}
      ip address add 10.96.0.2/32 dev lo scope host
      ip address add 10.96.0.2/32 dev dummy0
      ip address add 10.96.0.2/24 dev dummy0
      ip address add 10.96.0.9/32 dev dummy0`,
    flags: "--ip-address=10.96.0.2 --deduplicate=true",
    found: ["lo present", "10.96.0.2/32 surplus: also as /32 on dummy0"],
    look: EVERYWHERE("lo"),
    told: ["address del 10.96.0.2/32 dev dummy0"],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.2/24 dev dummy0 scope global",
      "ip address add 10.96.0.9/32 dev dummy0 scope global",
      "ip address add 10.96.0.2/32 dev lo scope host",
    ],
  },
  {
    name: "leaves the address on the others with --deduplicate=false, even if the link is ours",
    setup: `${OURS}
      ip address add 10.96.0.2/32 dev lo scope host
      ip address add 10.96.0.2/32 dev dummy0`,
    flags: "--ip-address=10.96.0.2 --interface=dummy0 --deduplicate=false",
    found: ["dummy0 present", "10.96.0.2/32 present"],
    look: ["address show dev dummy0"],
    told: [],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.2/32 dev dummy0 scope global",
      "ip address add 10.96.0.2/32 dev lo scope host",
    ],
  },
  {
    name: "sets its own link up, and what IPv6 lost by it",
    setup: `${OURS}
      ip address add 10.96.0.2/32 dev dummy0
      ip address add fd00:96::2/128 dev dummy0 nodad
      ip link set dev dummy0 down`,
    flags: `${DUAL} --interface=dummy0`,
    found: ["dummy0 wrong: down", "10.96.0.2/32 present", "fd00:96::2/128 missing"],
    look: [...EVERYWHERE("dummy0"), "address show to fd00:96::2"],
    told: ["link set dev dummy0 up", "address add fd00:96::2/128 dev dummy0 nodad"],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.2/32 dev dummy0 scope global",
      "ip address add fd00:96::2/128 dev dummy0 nodad",
    ],
  },
  {
    name: "removes addresses, duplicates, and the link that is ours",
    setup: `${OURS}${THEIRS}
      ip address add 10.96.0.2/32 dev dummy0
      ip address add fd00:96::2/128 dev dummy0 nodad
      ip address add 10.96.0.2/32 dev eth0
      ip address add 10.96.0.2/24 dev eth0
      ip address add 10.96.0.9/32 dev eth0`,
    flags: `${DUAL} --interface=dummy0`,
    want: "absent",
    found: ["dummy0 present", "10.96.0.2/32 present", "fd00:96::2/128 present"],
    look: [...EVERYWHERE("dummy0"), "address show to fd00:96::2"],
    told: [
      "address del 10.96.0.2/32 dev dummy0",
      "address del 10.96.0.2/32 dev eth0",
      "address del fd00:96::2/128 dev dummy0",
      "link del dev dummy0",
    ],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add 10.96.0.2/24 dev eth0 scope global",
      "ip address add 10.96.0.9/32 dev eth0 scope global",
    ],
  },
  {
    name: "keeps its link if others put theirs on it",
    setup: `${OURS}
      ip address add 10.96.0.2/32 dev dummy0
      ip address add 10.96.0.9/32 dev dummy0`,
    flags: "--ip-address=10.96.0.2 --interface=dummy0",
    want: "absent",
    found: ["dummy0 present: kept, since it carries 10.96.0.9", "10.96.0.2/32 present"],
    look: EVERYWHERE("dummy0"),
    told: ["address del 10.96.0.2/32 dev dummy0"],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.9/32 dev dummy0 scope global",
    ],
  },
  {
    name: "keeps its link if others put an address of scope link on it",
    setup: `${OURS}
      ip address add 169.254.20.10/32 dev dummy0 scope link`,
    flags: "--ip-address=10.96.0.2 --interface=dummy0",
    want: "absent",
    found: ["dummy0 present: kept, since it carries 169.254.20.10", "10.96.0.2/32 missing"],
    look: EVERYWHERE("dummy0"),
    told: [],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 169.254.20.10/32 dev dummy0 scope link",
    ],
  },
  {
    name: "keeps its link if others put a point-to-point address on it",
    setup: `${OURS}
      ip address add 10.1.0.1 peer 10.1.0.2/32 dev dummy0`,
    flags: "--ip-address=10.96.0.2 --interface=dummy0",
    want: "absent",
    found: ["dummy0 present: kept, since it carries 10.1.0.1", "10.96.0.2/32 missing"],
    look: EVERYWHERE("dummy0"),
    told: [],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.1.0.1 peer 10.1.0.2/32 dev dummy0 scope global",
    ],
  },
  {
    name: "removes neither the link of another program nor what stands elsewhere",
    setup: `${THEIRS}
      ip address add 10.96.0.2/32 dev eth0
      ip address add 10.96.0.2/32 dev lo scope host`,
    flags: "--ip-address=10.96.0.2 --interface=eth0",
    want: "absent",
    found: ["eth0 present", "10.96.0.2/32 present"],
    look: EVERYWHERE("eth0"),
    told: ["address del 10.96.0.2/32 dev eth0"],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add 10.96.0.2/32 dev lo scope host",
    ],
  },
  {
    name: "has nothing to remove when all is gone, the link too",
    // Whether the address on lo is ours cannot be told without the link.
    setup: `
      ip address add 10.96.0.2/32 dev lo scope host
      ip address add 10.96.0.9/32 dev lo scope host`,
    flags: `${DUAL} --interface=dummy0`,
    want: "absent",
    found: ["dummy0 missing", "10.96.0.2/32 missing", "fd00:96::2/128 missing"],
    look: [...EVERYWHERE("dummy0"), "address show to fd00:96::2"],
    told: [],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host", "ip address add 10.96.0.9/32 dev lo scope host"],
  },
  {
    name: "replaces an IPv6 address that is tentative, and says so",
    setup: `${THEIRS}
      ip address add fd00:96::2/128 dev eth0`,
    flags: "--ip-address=fd00:96::2 --interface=eth0 --deduplicate=false",
    found: ["eth0 present", "fd00:96::2/128 wrong: tentative"],
    look: ["address show dev eth0"],
    told: ["address del fd00:96::2/128 dev eth0", "address add fd00:96::2/128 dev eth0 nodad"],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add fd00:96::2/128 dev eth0 nodad",
    ],
  },
  {
    name: "makes deprecated addresses preferred again without removing them",
    setup: `
      ip address add 10.96.0.2/32 dev lo scope host valid_lft forever preferred_lft 0
      ip address add fd00:96::2/128 dev lo nodad valid_lft forever preferred_lft 0`,
    flags: DUAL,
    found: ["lo present", "10.96.0.2/32 wrong: deprecated", "fd00:96::2/128 wrong: deprecated"],
    told: [
      "address replace 10.96.0.2/32 dev lo scope host valid_lft forever preferred_lft forever",
      "address replace fd00:96::2/128 dev lo nodad valid_lft forever preferred_lft forever",
    ],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host", "ip address add fd00:96::2/128 dev lo nodad"],
  },
  {
    name: "replaces an IPv6 address with another end on a link of its own",
    setup: `${OURS}
      ip address add fd00:96::2 peer fd00:96::9/64 dev dummy0 nodad`,
    flags: "--ip-address=fd00:96::2 --interface=dummy0 --deduplicate=false",
    found: ["dummy0 present", "fd00:96::2/128 wrong: prefix length 64, peer fd00:96::9"],
    look: ["address show dev dummy0"],
    told: ["address del fd00:96::2/64 dev dummy0", "address add fd00:96::2/128 dev dummy0 nodad"],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add fd00:96::2/128 dev dummy0 nodad",
    ],
  },
  {
    name: "leaves the node's own addresses as they are, and takes them for present",
    setup: `${THEIRS}
      ip address add 192.0.2.10/24 dev eth0 broadcast 192.0.2.255
      ip address add 2001:db8::10/64 dev eth0 nodad valid_lft 600 preferred_lft 300
      ip address add 2001:db8::11 peer 2001:db8::1/128 dev eth0 nodad`,
    flags: "--ip-address=192.0.2.10,2001:db8::10,2001:db8::11 --interface=eth0",
    found: [
      "eth0 present",
      "192.0.2.10/32 present: as /24, the node's own",
      "2001:db8::10/128 present: as /64, the node's own",
      "2001:db8::11/128 present: as /128 peer 2001:db8::1, the node's own",
    ],
    look: ["address show"],
    told: [],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add 192.0.2.10/24 dev eth0 scope global broadcast 192.0.2.255",
      "ip address add 2001:db8::10/64 dev eth0 nodad valid_lft 600 preferred_lft 300",
      "ip address add 2001:db8::11 peer 2001:db8::1/128 dev eth0 nodad",
    ],
  },
  {
    name: "leaves the node's own address as it is when the exact one stands beside it, and removes only that",
    setup: `${THEIRS}
      ip address add 192.0.2.10/24 dev eth0
      ip address add 192.0.2.10/32 dev eth0`,
    flags: "--ip-address=192.0.2.10 --interface=eth0 --deduplicate=false",
    want: "absent",
    found: ["eth0 present", "192.0.2.10/32 present"],
    look: ["address show dev eth0"],
    told: ["address del 192.0.2.10/32 dev eth0"],
    dump: [
      "ip link add name eth0 type veth",
      "ip link set dev eth0 up",
      "ip address add 192.0.2.10/24 dev eth0 scope global",
    ],
  },
  {
    name: "finds a link by its alternative names, and creates none",
    setup: `${THEIRS}
      ip link property add dev eth0 altname enp3s0alt
      ip link property add dev eth0 altname enx0123456789abcdef0123456789abcdef`,
    flags: "--ip-address=10.96.0.2 --interface=enp3s0alt --deduplicate=false",
    found: ["enp3s0alt present", "10.96.0.2/32 missing"],
    look: ["address show dev enp3s0alt"],
    told: ["address add 10.96.0.2/32 dev enp3s0alt scope global"],
    dump: [
      "ip link add name eth0 type veth",
      "ip link property add dev eth0 altname enp3s0alt",
      "ip link property add dev eth0 altname enx0123456789abcdef0123456789abcdef",
      "ip link set dev eth0 up",
      "ip address add 10.96.0.2/32 dev eth0 scope global",
    ],
  },
  {
    name: "marks a link that it created, when the alias could not be set then",
    setup: "ip link add name dummy0 group 10968 type dummy",
    flags: "--ip-address=10.96.0.2 --interface=dummy0 --deduplicate=false",
    found: ["dummy0 wrong: without its alias", "10.96.0.2/32 missing"],
    look: ["address show dev dummy0"],
    told: [
      "link set dev dummy0 group default alias apiserver-proxy-sidecar up",
      "address add 10.96.0.2/32 dev dummy0 scope global",
    ],
    dump: [
      "ip link add name dummy0 type dummy",
      "ip link set dev dummy0 alias apiserver-proxy-sidecar up",
      "ip address add 10.96.0.2/32 dev dummy0 scope global",
    ],
  },
  {
    name: "removes a link that it created without its alias",
    setup: "ip link add name dummy0 group 10968 type dummy",
    flags: "--ip-address=10.96.0.2 --interface=dummy0",
    want: "absent",
    found: ["dummy0 present", "10.96.0.2/32 missing"],
    look: EVERYWHERE("dummy0"),
    told: ["link del dev dummy0"],
    dump: [],
  },
  {
    name: "asks for all addresses at once when they are many",
    flags: "--ip-address=10.96.0.2,10.96.0.3,10.96.0.4 --deduplicate=true",
    found: ["lo present", "10.96.0.2/32 missing", "10.96.0.3/32 missing", "10.96.0.4/32 missing"],
    look: ["address show"],
    told: [
      "address add 10.96.0.2/32 dev lo scope host",
      "address add 10.96.0.3/32 dev lo scope host",
      "address add 10.96.0.4/32 dev lo scope host",
    ],
    dump: [
      "ip address add 10.96.0.2/32 dev lo scope host",
      "ip address add 10.96.0.3/32 dev lo scope host",
      "ip address add 10.96.0.4/32 dev lo scope host",
    ],
  },
];

for (const { name, setup, flags = "--ip-address=10.96.0.2", want = "present", found, told, dump, ...rest } of CASES) {
  Deno.test(`addressTool() ${name}`, async () => {
    const node = new FakeNode(setup);
    const wanted = desired(configFrom(flags), want);
    const look = (rest.look ?? ["address show dev lo"]).map((line) => `${line}\n`).join("");
    const report = await keep(node, wanted);
    assertEquals(states(report), found);
    assertEquals(node.processes, [{
      argv: IP,
      stdin: [look, ...told.map((line) => line === LOOK ? look : `${line}\n`), told.length > 0 ? look : ""].join(""),
    }]);
    assertEquals(node.dump(), dump.map((line) => `${line}\n`).join(""));
    const linkIsTheirs = found[0]?.includes("not this program") ?? false;
    assertEquals(report.ok, !linkIsTheirs);

    await keep(node, wanted);
    assertEquals(node.processes.slice(1), [{ argv: IP, stdin: look }]);
    assertEquals(node.dump(), dump.map((line) => `${line}\n`).join(""));
  });
}

Deno.test("addressTool() replaces an IPv6 address that was found in use elsewhere", async () => {
  const node = new FakeNode(`${THEIRS}\nip address add fd00:96::2/128 dev eth0 nodad`);
  const look = "address show dev eth0\naddress show to fd00:96::2\n";
  for (const address of node.link("eth0").addresses) address.dadFailed = true;
  const report = await keep(node, desired(configFrom("--ip-address=fd00:96::2 --interface=eth0"), "present"));
  assertEquals(states(report), [
    "eth0 present",
    "fd00:96::2/128 wrong: duplicate address detection failed (dadfailed)",
  ]);
  assertEquals(
    node.processes[0]?.stdin,
    `${look}address del fd00:96::2/128 dev eth0\naddress add fd00:96::2/128 dev eth0 nodad\n${look}`,
  );
  assertEquals(report.ok, true);
});

Deno.test("addressTool() creates links of the given type", async () => {
  const node = new FakeNode();
  await keep(node, desired(configFrom("--ip-address=10.96.0.2 --interface=br0"), "present"), { linkType: "bridge" });
  assertEquals(
    node.dump(),
    "ip link add name br0 type bridge\n" +
      "ip link set dev br0 alias apiserver-proxy-sidecar up\n" +
      "ip address add 10.96.0.2/32 dev br0 scope global\n",
  );
});

Deno.test("addressTool() waits for a link that another program created, and tries nothing", async () => {
  const node = new FakeNode();
  const wanted = desired(configFrom("--ip-address=10.96.0.2 --interface=eth0"), "present");
  const report = await keep(node, wanted, { waitForLink: true });
  assertEquals(states(report), [
    "eth0 missing: missing, and waited for: it was not this program's",
    "10.96.0.2/32 missing",
  ]);
  assertEquals(report.ok, false);
  assertEquals(node.processes, [{ argv: IP, stdin: "address show dev eth0\n" }]);
});

Deno.test("addressTool() creates no link by a name that only an alternative one can have", async () => {
  const node = new FakeNode();
  const { link, addresses, ...wanted } = desired(configFrom("--ip-address=10.96.0.2 --deduplicate=false"), "present");
  const long = "enx0123456789abc";
  const report = await keep(node, {
    ...wanted,
    link: { ...link, name: long },
    addresses: addresses.map((address) => ({ ...address, link: long })),
  });
  assertEquals(states(report), [
    `${long} missing: missing, and not to be created: a name of more than 15 bytes can only be an alternative name`,
    "10.96.0.2/32 missing",
  ]);
  assertEquals(node.processes, [{ argv: IP, stdin: `address show dev ${long}\n` }]);
});

Deno.test("addressTool() leaves the node's own address alone while it cannot be used", async () => {
  const node = new FakeNode(`${THEIRS}\nip address add 2001:db8::10/64 dev eth0`);
  const flags = "--ip-address=2001:db8::10 --interface=eth0 --deduplicate=false";
  const report = await keep(node, desired(configFrom(flags), "present"));
  assertEquals(states(report), ["eth0 present", "2001:db8::10/128 wrong: tentative, as /64, the node's own"]);
  assertEquals(report.ok, false);
  assertEquals(node.processes, [{ argv: IP, stdin: "address show dev eth0\n" }]);
});

Deno.test("addressTool() warns of the node's own address, and names what is removed", async () => {
  const node = new FakeNode(`${OURS}${THEIRS}
    ip address add 10.96.0.2/24 dev dummy0
    ip address add fd00:96::2/64 dev dummy0 nodad
    ip address add 10.96.0.2/32 dev eth0
    ip address add 192.0.2.10/24 dev eth0
  `);
  const found = async (flags: string, want: Desired["want"] = "present") => {
    const { items } = await keep(node, desired(configFrom(flags), want));
    return items.map(({ before, after }) => [before?.warning, before?.removes, after?.removes]);
  };
  assertEquals(await found("--ip-address=192.0.2.10 --interface=eth0"), [
    [undefined, undefined, undefined],
    ["The node's own 192.0.2.10/24 on eth0 counts as present, and is left as it is", undefined, undefined],
  ]);
  assertEquals(await found(`${DUAL} --interface=dummy0`), [
    [undefined, undefined, undefined],
    [undefined, ["10.96.0.2/24 on dummy0", "10.96.0.2/32 on eth0"], undefined],
    [undefined, ["fd00:96::2/64 on dummy0"], undefined],
  ]);
  node.apply("ip address add 10.96.0.2/32 dev eth0");
  assertEquals(await found("--ip-address=10.96.0.2 --interface=dummy0", "absent"), [
    [undefined, undefined, undefined],
    [undefined, ["10.96.0.2/32 on eth0"], undefined],
  ]);
});

Deno.test("addressTool() asks for no more than what is to be there when it is told so", async () => {
  const node = new FakeNode(`${OURS}
    ip address add 10.96.0.2/32 dev lo scope host
    ip address add 10.96.0.2/32 dev dummy0
  `);
  const before = node.dump();
  const look = async (flags: string) => {
    const report = await keep(node, desired(configFrom(flags), "present"), { full: false });
    assertEquals(report.ok, true);
    return node.processes.at(-1)?.stdin;
  };
  assertEquals(await look("--ip-address=10.96.0.2"), "address show dev lo to 10.96.0.2\n");
  assertEquals(await look("--ip-address=10.96.0.2 --deduplicate=true"), "address show dev lo to 10.96.0.2\n");
  assertEquals(await look("--ip-address=10.96.0.2 --interface=dummy0"), "address show dev dummy0\n");
  assertEquals(node.dump(), before);

  const ask = (ip: string) => `address show dev lo to ${ip}\n`;
  assertEquals(
    await look(DUAL),
    `${ask("10.96.0.2")}${ask("fd00:96::2")}address add fd00:96::2/128 dev lo nodad\n` +
      `${ask("10.96.0.2")}${ask("fd00:96::2")}`,
  );
  assertEquals(
    await look(`${DUAL},10.96.0.3`),
    "address show dev lo\naddress add 10.96.0.3/32 dev lo scope host\naddress show dev lo\n",
  );
});

Deno.test("addressTool() leaves another prefix length for a look at all of the link to judge", async () => {
  const node = new FakeNode(
    "ip address add 10.96.0.2/24 dev lo scope host\nip address add 10.96.0.2/32 dev lo scope host",
  );
  const before = node.dump();
  const wanted = desired(configFrom("--ip-address=10.96.0.2"), "present");
  const report = await keep(node, wanted, { full: false });
  assertEquals(states(report), ["lo present", "10.96.0.2/32 surplus: also as /24 on lo"]);
  assertEquals(report.items[1]?.after?.pending, true);
  assertEquals(node.dump(), before);
});

Deno.test("addressTool() leaves the node's own address alone after an event, too", async () => {
  const node = new FakeNode(`${THEIRS}\nip address add 192.0.2.10/24 dev eth0`);
  const wanted = desired(configFrom("--ip-address=192.0.2.10 --interface=eth0"), "present");
  const report = await keep(node, wanted, { full: false });
  assertEquals(states(report), ["eth0 present", "192.0.2.10/32 present: as /24, the node's own"]);
  assertEquals(node.processes, [{ argv: IP, stdin: "address show dev eth0\n" }]);
});

Deno.test("addressTool() waits for each answer, whatever texts are in it", () => {
  const tool = addressTool(desired(configFrom("--ip-address=10.96.0.2 --interface=eth0"), "present"));
  const text = String.raw`"ifalias":"two` + "\n]\n" + String.raw`\\\" [{\"ifname\":\"lo\"}]` + '\n"';
  const [first, second] = [`[{"ifindex":2,"ifname":"eth0",${text},"addr_info":[]}]\n`, "[]\n"];
  for (let end = 0; end < first.length + second.length; end++) {
    assertEquals(tool.answered((first + second).slice(0, end), "", 2), false, `after ${end}`);
  }
  assertEquals(tool.answered(first + second, "", 2), true);
  const absent = 'Device "eth0" does not exist.\nCommand failed -:1\n';
  assertEquals(tool.answered("", absent, 2), false);
  assertEquals(tool.answered(second, "", 2), false);
  assertEquals(tool.answered(second, absent, 2), true);
});

Deno.test("addressTool() reads a listing whatever texts are in it, in the writing of older releases, too", () => {
  const tool = addressTool(
    desired(configFrom("--ip-address=10.96.0.2 --interface=eth0 --deduplicate=true"), "present"),
  );
  const texts = [
    "two\nlines",
    "\x01\x1b\x7f\x85",
    String.raw`it\'s`,
    String.raw`\\\'\\\\`,
    String.raw`\"]\n`,
    "\ufffd\u2028",
  ];
  for (const text of texts) {
    const addresses = `"addr_info":[{},{"local":"10.96.0.2","prefixlen":32,"scope":"global","label":"${text}",` +
      `"valid_life_time":4294967295,"preferred_life_time":4294967295}]`;
    const eth0 = `"ifname":"eth0","altnames":["${text}"],"flags":["UP"],"ifalias":"${text}"`;
    const listing = `[{"ifindex":2,${eth0},${addresses}}]\n[{"ifindex":3,"ifname":"${text}",${addresses}}]\n`;
    const [link, address] = tool.judge(listing);
    assertEquals([link?.state, link?.ours, address?.state], ["present", false, "surplus"], JSON.stringify(text));
    // The other link has a name that cannot be told to `ip -batch`.
    assertEquals(address?.repairs, [{ command: "address del 10.96.0.2/32 dev if3" }]);
  }
});

Deno.test("addressTool() blames each failed line of a batch on the address that it was for", async () => {
  const node = new FakeNode("ip address add 10.96.0.3/32 dev lo scope host broadcast 10.96.0.3");
  node.refuse.push([/add 10\.96\.0\.[14]/, "RTNETLINK answers: No buffer space available"]);
  const report = await keep(
    node,
    desired(configFrom("--ip-address=10.96.0.1,10.96.0.2,10.96.0.3,10.96.0.4"), "present"),
  );
  assertEquals(
    report.items.map(({ item, after, error }) => [itemName(item), after?.state, error?.message, error?.kind]),
    [
      ["lo", "present", undefined, undefined],
      ["10.96.0.1/32", "missing", "Cannot run ip: RTNETLINK answers: No buffer space available", "busy"],
      ["10.96.0.2/32", "present", undefined, undefined],
      ["10.96.0.3/32", "present", undefined, undefined],
      ["10.96.0.4/32", "missing", "Cannot run ip: RTNETLINK answers: No buffer space available", "busy"],
    ],
  );
  assertEquals(
    node.dump(),
    "ip address add 10.96.0.2/32 dev lo scope host\nip address add 10.96.0.3/32 dev lo scope host\n",
  );
});

Deno.test("addressTool() names what is missing when the kernel cannot create a dummy", async () => {
  const node = new FakeNode();
  node.noDummy = true;
  const { items } = await keep(node, desired(configFrom("--ip-address=10.96.0.2 --interface=dummy0"), "present"));
  const [link, address] = items.map(({ error }) => error?.message);
  assertEquals(link?.startsWith("Cannot run ip: Error: Unknown device type."), true, link);
  assertEquals(/\bdummy\b/.test(link ?? ""), true, link);
  assertEquals(address, 'Cannot run ip: Cannot find device "dummy0"');
});

Deno.test("addressTool() says which right is lacking, for each address", async () => {
  const node = new FakeNode();
  node.notPermitted = true;
  const { items } = await keep(node, desired(configFrom(DUAL), "present"));
  const lacking = "Cannot run ip: RTNETLINK answers: Operation not permitted; CAP_NET_ADMIN is missing: " +
    "run as root, or give the container the capability NET_ADMIN";
  assertEquals(items.map(({ error }) => error?.message), [undefined, lacking, lacking]);
});

Deno.test("addressTool() cannot judge what is not a listing", () => {
  const tool = addressTool(desired(configFrom("--ip-address=10.96.0.2"), "present"));
  assertThrows(() => tool.judge("garbage\n"), SyntaxError);
  assertThrows(() => tool.judge('[{"ifname":"lo",\n'), SyntaxError);
});

function keep(node: FakeNode, wanted: Desired, options: AddressToolOptions = {}): Promise<Report> {
  return pass({ runner: node, commandTimeout: 1000 }, [addressTool(wanted, options)]);
}

/** What was found at first, as `name state: detail`. */
function states({ items }: Report): readonly string[] {
  return items.map(({ item, before }) =>
    `${itemName(item)} ${before?.state}${before?.detail === undefined ? "" : `: ${before.detail}`}`
  );
}

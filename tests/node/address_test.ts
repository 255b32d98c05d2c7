import { assertEquals, assertThrows } from "@std/assert";
import { addressTool } from "../../lib/node/address.ts";
import { type Desired, desired, itemName } from "../../lib/desired/desired.ts";
import { pass, type Report } from "../../lib/reconcile/reconcile.ts";
import { configOf, FakeNode } from "../support/fake_node.ts";

const IP = ["ip", "-json", "-details", "-force", "-batch", "-"];
const DUAL = "--ip-address=10.96.0.2,fd00:96::2";
const OURS = `
  ip link add name dummy0 type dummy
  ip link set dev dummy0 alias apiserver-proxy-sidecar up`;
const THEIRS = `
  ip link add name eth0 type veth
  ip link set dev eth0 up`;

interface Case {
  readonly name: string;
  readonly setup?: string;
  readonly flags?: string;
  readonly want?: Desired["want"];
  /** What is said of each item at first. */
  readonly found: readonly string[];
  /** What `ip` is told between its two looks. */
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
      ip address add fd00:96::2/128 dev lo nodad valid_lft forever preferred_lft 0`,
    flags: DUAL,
    found: ["lo present", "10.96.0.2/32 wrong: expires", "fd00:96::2/128 wrong: expires"],
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
    told: ["address add 10.96.0.2/32 dev lo scope host", "address show dev lo", "address del 10.96.0.2/24 dev lo"],
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
    told: [
      "link add name dummy0 type dummy",
      "link set dev dummy0 alias apiserver-proxy-sidecar up",
      "address add 10.96.0.2/32 dev dummy0 scope global",
      "address show",
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
    told: [],
    dump: ["ip address add 10.96.0.2/32 dev lo scope host", "ip address add 10.96.0.9/32 dev lo scope host"],
  },
];

for (const { name, setup, flags = "--ip-address=10.96.0.2", want = "present", found, told, dump } of CASES) {
  Deno.test(`addressTool() ${name}`, async () => {
    const node = new FakeNode(setup);
    const wanted = desired(configOf(flags), want);
    const look = flags.includes("--interface") || flags.includes("--deduplicate=true")
      ? "address show\n"
      : "address show dev lo\n";
    const report = await keep(node, wanted);
    assertEquals(states(report), found);
    assertEquals(node.processes, [{
      argv: IP,
      stdin: [look, ...told.map((line) => `${line}\n`), told.length > 0 ? look : ""].join(""),
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
  for (const address of node.link("eth0").addresses) address.dadFailed = true;
  const report = await keep(node, desired(configOf("--ip-address=fd00:96::2 --interface=eth0"), "present"));
  assertEquals(states(report), ["eth0 present", "fd00:96::2/128 wrong: duplicate address detection failed"]);
  assertEquals(
    node.processes[0]?.stdin,
    "address show\naddress del fd00:96::2/128 dev eth0\naddress add fd00:96::2/128 dev eth0 nodad\naddress show\n",
  );
  assertEquals(report.ok, true);
});

Deno.test("addressTool() creates links of the given type", async () => {
  const node = new FakeNode();
  const tool = addressTool(desired(configOf("--ip-address=10.96.0.2 --interface=br0"), "present"), {
    linkType: "bridge",
  });
  await pass({ runner: node, commandTimeout: 1000 }, [tool]);
  assertEquals(
    node.dump(),
    "ip link add name br0 type bridge\n" +
      "ip link set dev br0 alias apiserver-proxy-sidecar up\n" +
      "ip address add 10.96.0.2/32 dev br0 scope global\n",
  );
});

Deno.test("addressTool() waits for a link that another program created", async () => {
  const node = new FakeNode();
  const tool = addressTool(desired(configOf("--ip-address=10.96.0.2 --interface=eth0"), "present"), {
    waitForLink: true,
  });
  const report = await pass({ runner: node, commandTimeout: 1000 }, [tool]);
  assertEquals(states(report), [
    "eth0 missing: missing, and waited for: it was not this program's",
    "10.96.0.2/32 missing",
  ]);
  assertEquals(report.ok, false);
  assertEquals(node.dump(), "");
});

Deno.test("addressTool() blames each failed line of a batch on the address that it was for", async () => {
  const node = new FakeNode("ip address add 10.96.0.3/32 dev lo scope host broadcast 10.96.0.3");
  node.refuse.push([/add 10\.96\.0\.[14]/, "RTNETLINK answers: No buffer space available"]);
  const report = await keep(node, desired(configOf("--ip-address=10.96.0.1,10.96.0.2,10.96.0.3,10.96.0.4"), "present"));
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
  const { items } = await keep(node, desired(configOf("--ip-address=10.96.0.2 --interface=dummy0"), "present"));
  const [link, address] = items.map(({ error }) => error?.message);
  assertEquals(link?.startsWith("Cannot run ip: Error: Unknown device type."), true, link);
  assertEquals(/\bdummy\b/.test(link ?? ""), true, link);
  assertEquals(address, 'Cannot run ip: Cannot find device "dummy0"');
});

Deno.test("addressTool() says which right is lacking, for each address", async () => {
  const node = new FakeNode();
  node.notPermitted = true;
  const { items } = await keep(node, desired(configOf(DUAL), "present"));
  const lacking = "Cannot run ip: RTNETLINK answers: Operation not permitted; CAP_NET_ADMIN is missing: " +
    "run as root, or give the container the capability NET_ADMIN";
  assertEquals(items.map(({ error }) => error?.message), [undefined, lacking, lacking]);
});

Deno.test("addressTool() cannot judge what is not a listing", () => {
  const tool = addressTool(desired(configOf("--ip-address=10.96.0.2"), "present"));
  assertThrows(() => tool.judge("garbage\n"), SyntaxError);
  assertThrows(() => tool.judge('[{"ifname":"lo",\n'), SyntaxError);
});

function keep(node: FakeNode, wanted: Desired): Promise<Report> {
  return pass({ runner: node, commandTimeout: 1000 }, [addressTool(wanted)]);
}

/** What was found at first, as `name state: detail`. */
function states({ items }: Report): readonly string[] {
  return items.map(({ item, before }) =>
    `${itemName(item)} ${before?.state}${before?.detail === undefined ? "" : `: ${before.detail}`}`
  );
}

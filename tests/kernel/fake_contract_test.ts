/**
 * Holds tests/support/fake_node.ts to the kernel: the same scenarios, told to the fake and to the real tools through the same seam,
 * give the same answers, the same end and the same state.
 *
 * Error texts are compared with the releases that the fake speaks like; with others, only what kind of failure they are.
 */
import { assertEquals } from "@std/assert";
import type { Answer, CommandRunner } from "../../lib/node/process.ts";
import { SystemCommands } from "../../lib/node/system_commands.ts";
import { environmentOfCommands } from "../../lib/rights.ts";
import { desired, itemName } from "../../lib/desired/desired.ts";
import { type Backend, iptablesProgram } from "../../lib/node/iptables.ts";
import { pass, type Place, tools } from "../support/passes.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { IP } from "../support/texts.ts";

const END = "# end of listing\n";
const FAULTS = ["notPermitted", "readOnlyRun", "locked"] as const;

/** What is told to one process. */
interface Scenario {
  readonly name: string;
  /** Command lines that make the state before. */
  readonly setup?: string;
  /** What is said; each text is answered before the next one. */
  readonly told: readonly string[];
  readonly fault?: typeof FAULTS[number];
}

const LISTED = `*raw\n-S PREROUTING\n-S OUTPUT\nCOMMIT\n*filter\n-S INPUT\n-S OUTPUT\nCOMMIT\n${END}`;
const RULE = "-d ADDRESS -p tcp -m tcp --dport 443 -j NOTRACK";
const OTHER = "-s ADDRESS -p tcp -m tcp --sport 443 -j NOTRACK";
const ACCEPT = "-d ADDRESS -p tcp -m tcp --dport 443 -j ACCEPT";

/** For each back end and family; ADDRESS, PROGRAM and the likes of them are filled in. */
const RULE_SCENARIOS: readonly Scenario[] = [
  { name: "nothing is there", told: [LISTED] },
  {
    name: "rules go to the top and to a number",
    told: [
      `*raw\n-I PREROUTING ${RULE}\n-I PREROUTING 2 ${OTHER}\n-I PREROUTING 1 ${RULE}\n-S PREROUTING\nCOMMIT\n${END}`,
      `*filter\n-I INPUT ${ACCEPT}\n-I INPUT ${ACCEPT}\nCOMMIT\n${LISTED}`,
    ],
  },
  {
    name: "-D takes the topmost copy",
    setup: [RULE, OTHER, RULE, OTHER, RULE].map((rule) => `PROGRAM -t raw -A OUTPUT ${rule}`).join("\n"),
    told: [`*raw\n-D OUTPUT ${RULE}\n-D OUTPUT ${OTHER}\nCOMMIT\n${LISTED}`],
  },
  {
    name: "a number is too high",
    told: [LISTED, `*raw\n-I PREROUTING ${RULE}\n-I PREROUTING 3 ${RULE}\nCOMMIT\n${LISTED}`],
  },
  {
    name: "-D finds nothing, and its transaction is lost, but not the one before",
    told: [`*raw\n-I PREROUTING ${RULE}\nCOMMIT\n*filter\n-I INPUT ${ACCEPT}\n-D OUTPUT ${ACCEPT}\nCOMMIT\n${LISTED}`],
  },
  { name: "a chain to list is not there", told: [`*raw\n-S NOPE\nCOMMIT\n${END}`] },
  { name: "a chain of another table is listed", told: [`*raw\n-S INPUT\nCOMMIT\n${END}`] },
  { name: "a chain to change is not there", told: [`*raw\n-I NOPE ${RULE}\nCOMMIT\n${END}`] },
  { name: "a table is not there", told: [`*nope\n-S OUTPUT\nCOMMIT\n${END}`] },
  { name: "the input ends within a table", told: [`${LISTED}`, `*raw\n-I PREROUTING ${RULE}\n`] },
  { name: "there are comments and empty lines", told: [`\n# one\n*raw\n\n# two\nCOMMIT\n\n${END}`] },
  { name: "nothing is said", told: [] },
  {
    name: "both spellings of NOTRACK stand side by side",
    setup: `
      PROGRAM -t raw -A OUTPUT -d ADDRESS -p tcp -m tcp --dport 443 -j CT --notrack
      PROGRAM -t raw -A OUTPUT ${RULE}`,
    told: [LISTED, `*raw\n-D OUTPUT -d ADDRESS -p tcp -m tcp --dport 443 -j CT --notrack\nCOMMIT\n${LISTED}`],
  },
  {
    name: "rules with other matches and targets are others",
    setup: `
      PROGRAM -t raw -N MINE
      PROGRAM -t raw -A MINE -j RETURN
      PROGRAM -t raw -A OUTPUT -d ADDRESS -p tcp -m tcp --dport 443 -m comment --comment "of mine" -j NOTRACK
      PROGRAM -t raw -A OUTPUT ! -d ADDRESS -o lo -p tcp -m tcp --dport 443 -j MINE
      PROGRAM -t raw -A OUTPUT -m comment --comment word -j MINE
      PROGRAM -P INPUT DROP
      PROGRAM -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
      PROGRAM -A INPUT ! -i lo -p udp -m udp --dport 53 -j DROP`,
    told: [LISTED, `*raw\n-I OUTPUT ${RULE}\nCOMMIT\n${LISTED}`, `*raw\n-D OUTPUT ${RULE}\nCOMMIT\n${LISTED}`],
  },
  { name: "rights are lacking", fault: "notPermitted", told: [LISTED] },
  { name: "/run is read-only", fault: "readOnlyRun", told: [LISTED] },
  { name: "the lock is held", fault: "locked", told: [LISTED] },
];

const SHOW = "address show\n";
const OURS = "link add name d0 group 10968 type bridge\n" +
  "link set dev d0 group default alias apiserver-proxy-sidecar up\n";
const IP_SCENARIOS: readonly Scenario[] = [
  { name: "only lo is there", told: [SHOW, "address show dev lo\n"] },
  { name: "a link to show is not there", told: ["address show dev nope\n", SHOW] },
  { name: "a link is made, named and set up", told: [SHOW, OURS + SHOW, `link set dev d0 down\n${SHOW}`] },
  {
    name: "a link is there, is not there, is of no known type",
    setup: "ip link add name d0 type bridge",
    told: [
      `link add name d0 type bridge\nlink add name d1 type nope\nlink set dev nope up\nlink del dev nope\n${SHOW}`,
      `link del dev lo\nlink del dev d0\n${SHOW}`,
    ],
  },
  {
    name: "a link takes its addresses with it",
    setup: "ip link add name d0 type bridge\nip address add 10.96.0.2/32 dev d0",
    told: [`link del dev d0\n${SHOW}`],
  },
  {
    name: "addresses are added, twice, and removed, twice",
    told: [
      SHOW,
      `address add 10.96.0.2/32 dev lo scope host\naddress add fd00:96::2/128 dev lo nodad\n${SHOW}`,
      `address add 10.96.0.2/32 dev lo scope global\naddress add fd00:96::2/128 dev lo nodad\n${SHOW}`,
      `address del 10.96.0.2/32 dev lo\naddress del fd00:96::2/128 dev lo\n${SHOW}`,
      `address del 10.96.0.2/32 dev lo\naddress del fd00:96::2/128 dev lo\n${SHOW}`,
    ],
  },
  {
    name: "the link of an address is not there",
    told: [
      "address add 10.96.0.2/32 dev d0 scope host\naddress del 10.96.0.2/32 dev d0\n" +
      "address add fd00:96::2/128 dev d0 nodad\naddress del fd00:96::2/128 dev d0\n" +
      `address replace 10.96.0.2/32 dev d0 scope host valid_lft forever preferred_lft forever\n${SHOW}`,
    ],
  },
  {
    name: "scopes, and the order that they make",
    setup: "ip link add name d0 type bridge",
    told: [
      "address add 10.1.0.1/32 dev d0 scope global\naddress add 10.1.0.2/32 dev d0 scope host\n" +
      "address add 10.1.0.3/32 dev d0 scope link\naddress add 10.1.0.4/32 dev d0 scope global\n" +
      "address add 10.1.0.5/32 dev d0 scope host\naddress add 10.1.0.6/32 dev d0\naddress add 127.0.0.9/8 dev d0\n" +
      `address add fd00::1/128 dev d0 nodad\naddress add fd00::2/64 dev d0 nodad\n${SHOW}`,
    ],
  },
  {
    name: "an address stands with several prefix lengths",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.1.0.1/24 dev d0
      ip address add fd00::1/64 dev d0 nodad`,
    told: [
      `address add 10.1.0.1/32 dev d0 scope global\naddress add fd00::1/128 dev d0 nodad\n${SHOW}`,
      `address replace fd00::1/128 dev d0 nodad\naddress del fd00::1/128 dev d0\n${SHOW}`,
      `address del 10.1.0.1/24 dev d0\naddress del fd00::1/64 dev d0\n${SHOW}`,
    ],
  },
  {
    name: "secondary addresses go with the first of their subnet",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.1.0.1/24 dev d0
      ip address add 10.1.0.2/24 dev d0 broadcast 10.1.0.255
      ip address add 10.2.0.1/24 dev d0
      ip address add 10.1.0.3/24 dev d0`,
    told: [
      `address add 10.1.0.4/24 dev d0 scope host\n${SHOW}`,
      `address del 10.1.0.2/24 dev d0\n${SHOW}`,
      `address del 10.1.0.1/24 dev d0\n${SHOW}`,
    ],
  },
  {
    name: "a broadcast address, lifetimes, the other end",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.96.0.2/32 dev d0 broadcast 10.96.0.2 scope host
      ip address add 10.96.0.3/32 dev d0 valid_lft 90000 preferred_lft 80000
      ip address add fd00:96::3/128 dev d0 nodad valid_lft 90000 preferred_lft 0
      ip address add 10.96.0.4 peer 10.96.0.5/32 dev d0`,
    told: [
      SHOW,
      `address replace 10.96.0.2/32 dev d0 scope global valid_lft forever preferred_lft forever\n${SHOW}`,
      "address replace 10.96.0.3/32 dev d0 scope global valid_lft forever preferred_lft forever\n" +
      `address replace fd00:96::3/128 dev d0 nodad valid_lft forever preferred_lft forever\n${SHOW}`,
      `address add 10.96.0.4/32 dev d0\n${SHOW}`,
    ],
  },
  {
    name: "IPv6 addresses go when the link goes down",
    setup: OURS.replaceAll(/^link/gm, "ip link") +
      "ip address add 10.1.0.1/32 dev d0\nip address add fd00::1/128 dev d0 nodad",
    told: [
      `link set dev d0 down\n${SHOW}`,
      `link set dev d0 up\nlink set dev lo down\n${SHOW}`,
      `link set dev lo up\n${SHOW}`,
    ],
  },
  {
    name: "a link stays in its group",
    told: [`link add name d0 group 10968 type bridge\n${SHOW}`, `link set dev d0 group default\n${SHOW}`],
  },
  {
    name: "a link has alternative names",
    setup: `
      ip link add name d0 type bridge
      ip link property add dev d0 altname d0alt
      ip link property add dev d0 altname enx0123456789abcdef0123456789abcdef`,
    told: [
      "address show dev d0alt\n",
      "address add 10.1.0.1/32 dev d0alt scope global\n" +
      "address add 10.1.0.2/32 dev enx0123456789abcdef0123456789abcdef scope global\n" +
      `link set dev d0alt up\nlink add name d0alt type bridge\n${SHOW}`,
      `address del 10.1.0.1/32 dev enx0123456789abcdef0123456789abcdef\n${SHOW}`,
    ],
  },
  {
    name: "an address is asked for by name",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.1.0.1/24 dev d0
      ip address add 10.1.0.2/32 dev d0
      ip address add 10.1.0.1/32 dev lo
      ip address add fd00::1/128 dev lo nodad`,
    told: [
      "address show dev d0 to 10.1.0.1\n",
      "address show dev lo to 10.1.0.1\n",
      "address show dev lo to 10.1.0.9\n",
      "address show dev lo to fd00::1\n",
      "address show dev nope to 10.1.0.1\n",
      "address show to 10.1.0.1\n",
      "address show to 10.1.0.9\n",
    ],
  },
  {
    name: "IPv6 addresses are tentative, and have another end",
    setup: `
      ip link add name d0 type bridge
      ip link set dev d0 up
      ip address add fd00::1/128 dev d0
      ip address add fd00::2 peer fd00::9/64 dev d0 nodad`,
    told: [
      SHOW,
      `address replace fd00::1/128 dev d0 nodad\naddress add fd00::2/128 dev d0 nodad\n${SHOW}`,
      "address del fd00::1/128 dev d0\naddress add fd00::1/128 dev d0 nodad\n" +
      `address del fd00::2/64 dev d0\naddress add fd00::2/128 dev d0 nodad\n${SHOW}`,
    ],
  },
  {
    name: "addresses are deprecated",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.1.0.1/32 dev d0 valid_lft forever preferred_lft 0
      ip address add 10.1.0.2/32 dev d0 valid_lft 90000 preferred_lft 0
      ip address add fd00::1/128 dev d0 nodad valid_lft forever preferred_lft 0`,
    told: [
      SHOW,
      "address replace 10.1.0.1/32 dev d0 scope global valid_lft forever preferred_lft forever\n" +
      "address replace 10.1.0.2/32 dev d0 scope global valid_lft forever preferred_lft forever\n" +
      `address replace fd00::1/128 dev d0 nodad valid_lft forever preferred_lft forever\n${SHOW}`,
    ],
  },
  {
    name: "an IPv6 address ends in a dotted quad",
    setup: "ip address add ::1.2.3.4/128 dev lo nodad\nip address add 64:ff9b:1::6468:102/128 dev lo nodad",
    told: [
      SHOW,
      `address del ::102:304/128 dev lo\naddress add ::506:708/128 dev lo nodad\n${SHOW}`,
    ],
  },
  {
    name: "rights are lacking",
    fault: "notPermitted",
    told: [`${SHOW}`, `${OURS}address del 127.0.0.1/8 dev lo\n${SHOW}`],
  },
];

/** A pass over everything: what lib/ makes of the answers. */
interface PassScenario {
  readonly name: string;
  readonly setup?: string;
  readonly flags: string;
  readonly want?: "absent";
}

const DUAL = "--ip-address=10.96.0.2,fd00:96::2,::1.2.3.4 --setup-iptables";
const PASS_SCENARIOS: readonly PassScenario[] = [
  { name: "puts everything in", flags: `${DUAL} --port=443,6443` },
  { name: "makes a link", flags: `${DUAL} --interface=d0` },
  {
    name: "puts everything right",
    setup: `
      ip link add name d0 type bridge
      ip link set dev d0 alias apiserver-proxy-sidecar
      ip link add name d1 type bridge
      ip address add 10.96.0.2/32 dev d0 broadcast 10.96.0.2
      ip address add 10.96.0.2/24 dev d0
      ip address add fd00:96::2/128 dev d1 nodad
      ip address add 10.96.0.2/32 dev d1
      ip address add 10.96.0.9/32 dev d1
      PROGRAM4 -t raw -A PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j CT --notrack
      PROGRAM4 -t raw -A OUTPUT -p udp -j ACCEPT
      PROGRAM4 -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j NOTRACK
      PROGRAM4 -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j CT --notrack
      PROGRAM4 -t raw -A OUTPUT -p icmp -j ACCEPT
      PROGRAM4 -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j NOTRACK
      PROGRAM6 -A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT
      PROGRAM6 -A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT`,
    flags: `${DUAL} --interface=d0`,
  },
  {
    name: "removes everything",
    setup: `
      ip link add name d0 type bridge
      ip link set dev d0 alias apiserver-proxy-sidecar up
      ip link add name d1 type bridge
      ip address add 10.96.0.2/32 dev d0
      ip address add ::1.2.3.4/128 dev d1 nodad
      ip address add 10.96.0.9/32 dev d1
      PROGRAM4 -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j NOTRACK
      PROGRAM4 -t raw -A OUTPUT -p icmp -j ACCEPT
      PROGRAM4 -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j CT --notrack
      PROGRAM6 -A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT
      PROGRAM6 -A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT`,
    flags: `${DUAL} --interface=d0`,
    want: "absent",
  },
  { name: "finds nothing to remove", flags: DUAL, want: "absent" },
  {
    name: "finds its addresses with other prefix lengths",
    setup: `
      ip link add name d0 type bridge
      ip address add 10.96.0.2/24 dev d0
      ip address add 10.96.0.7/24 dev d0
      ip address add fd00:96::2/64 dev d0 nodad`,
    flags: `${DUAL} --interface=d0`,
  },
];

for (const scenario of IP_SCENARIOS) {
  kernelTest(`FakeNode does as ip does when ${scenario.name}`, (namespace) => compare(namespace, IP, scenario));
}

for (const backend of ["nft", "legacy"] as const) {
  for (const family of [4, 6] as const) {
    const argv = [iptablesProgram("restore", family, backend), "--noflush", "--verbose", "--wait=1"];
    for (const scenario of RULE_SCENARIOS) {
      kernelTest(
        `FakeNode does as ${argv[0]} does when ${scenario.name}`,
        (namespace) =>
          compare(namespace, argv, {
            ...scenario,
            setup: fill(scenario.setup ?? "", family, backend),
            told: scenario.told.map((text) => fill(text, family, backend)),
          }),
      );
    }
  }
  for (const scenario of PASS_SCENARIOS) {
    kernelTest(`pass() ${scenario.name} on FakeNode as on the kernel with ${backend}`, async (namespace) => {
      const { flags, want = "present" } = scenario;
      const setup = fill(scenario.setup ?? "", 4, backend);
      const fake = new FakeNode(setup);
      await namespace.ok(["sh", "-e"], { stdin: setup });
      const run = async (runner: CommandRunner) => {
        const node: Place = { runner, commandTimeout: 10_000, linkType: "bridge" };
        const { addresses, rules } = tools(node, desired(configFrom(flags), want), { backend });
        const reports = [await pass(node, [addresses, ...rules]), await pass(node, [addresses, ...rules])];
        return reports.map(({ ok, items }) => ({
          ok,
          items: items.map(({ item, before, after, error }) => ({
            item: itemName(item),
            before,
            after,
            kind: error?.kind,
          })),
        }));
      };
      assertEquals(await run(fake), await run(runnerIn(namespace)));
      assertEquals(fake.dump(), await dump(namespace));
    });
  }
}

kernelTest("FakeNode does as iptables-save does", async (namespace) => {
  const setup = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"].map((program) => `
    ${program} -t mangle -N KUBE-KUBELET-CANARY
    ${program} -t raw -A OUTPUT -p icmp -j ACCEPT
    ${program} -t raw -A PREROUTING -p icmp -j ACCEPT
    ${program} -A INPUT -p udp -j ACCEPT`).join("\n");
  const fake = new FakeNode(setup);
  await namespace.ok(["sh", "-e"], { stdin: setup });
  for (const program of ["iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"]) {
    for (const argv of [[program], [program, "-t", "mangle"], [program, "-t", "raw"]]) {
      const results = [fake, runnerIn(namespace)].map((runner) => runner.start(argv, { timeout: 10_000 }).end());
      const [ours, theirs] = (await Promise.all(results)).map(({ stdout, stderr, error }) => ({
        tables: stdout.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]").split(/^(?=\*)/m).toSorted(),
        // "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them"
        stderr: stderr.replaceAll(/^# Warning.*\n/gm, ""),
        error,
      }));
      assertEquals(ours, theirs);
    }
  }
});

/** What there is to compare of a conversation. */
interface Outcome {
  readonly answers: readonly unknown[];
  readonly rest: string;
  readonly code: number | undefined;
  readonly kind: string | undefined;
  readonly stderr: string;
}

async function compare(namespace: Namespace, argv: readonly string[], scenario: Scenario): Promise<void> {
  const { setup = "", told, fault } = scenario;
  const fake = new FakeNode(setup);
  if (fault === "locked") fake.lockedUntil = Infinity;
  else if (fault !== undefined) fake[fault] = true;
  await namespace.ok(["sh", "-e"], { stdin: setup });
  const drop = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"];
  const runner = runnerIn(namespace, fault === "notPermitted" ? drop : []);

  const speaksLikeFake = await isKnownRelease(namespace, argv[0] ?? "");
  const actual = await fake.clock.until(converse(fake, argv, told));
  const expected = await withFault(namespace, fault, () => converse(runner, argv, told));
  const texts = ({ stderr, kind, ...rest }: Outcome) => {
    if (speaksLikeFake) return { ...rest, kind, stderr };
    // Those of nft say little (1.8.7: nothing but the line), or of a chain that is not there what others say of a native one.
    return argv[0]?.includes("-nft-") ? { ...rest, hasFailed: kind !== undefined } : { ...rest, kind };
  };
  assertEquals(texts(actual), texts(expected));
  assertEquals(fake.dump(), await dump(namespace));
  assertEquals(fake.running.size, 0);
}

async function converse(runner: CommandRunner, argv: readonly string[], told: readonly string[]): Promise<Outcome> {
  const talk = runner.start(argv, { timeout: 5000 });
  const answers: unknown[] = [];
  for (const text of told) {
    const isQuestion = text.endsWith(END) || text.includes("show");
    const isWhole = ({ stdout, stderr }: Answer) =>
      argv[0] === "ip" ? stdout.endsWith("\n") || stderr.includes("does not exist") : stdout.endsWith(END);
    const answer = await talk.say(text, isQuestion ? isWhole : () => true);
    answers.push(argv[0] === "ip" && answer?.stdout ? JSON.parse(answer.stdout).map(essence) : answer?.stdout);
  }
  const { stdout, stderr, error } = await talk.end();
  return { answers, rest: stdout, code: error === undefined ? 0 : error.code, kind: error?.kind, stderr };
}

/** What lib/ reads of a link that `ip` lists. */
// deno-lint-ignore no-explicit-any
function essence({ ifname, altnames, group, flags, ifalias, addr_info }: any): unknown {
  return {
    ifname,
    altnames,
    group,
    flags: flags.filter((flag: string) => ["LOOPBACK", "UP"].includes(flag)),
    ifalias,
    // The kernel makes link-local ones at its own pace.
    // deno-lint-ignore no-explicit-any
    addr_info: addr_info.filter(({ local }: any) => !local?.startsWith("fe80:")).map((address: any) => ({
      local: address.local,
      address: address.address,
      prefixlen: address.prefixlen,
      scope: address.scope,
      broadcast: address.broadcast,
      secondary: address.secondary,
      tentative: address.tentative,
      dadfailed: address.dadfailed,
      deprecated: address.deprecated,
      lifetimes: [address.valid_life_time, address.preferred_life_time].map(coarse),
    })),
  };
}

/** A lifetime goes down while the test runs. */
function coarse(seconds: number): number {
  return seconds === 0xffff_ffff ? seconds : Math.ceil(seconds / 10_000) * 10_000;
}

/** The state of a namespace in the form of FakeNode.dump(). */
async function dump(namespace: Namespace): Promise<string> {
  // deno-lint-ignore no-explicit-any
  const links: any[] = JSON.parse(await namespace.ok(["ip", "-json", "-details", "address", "show"]));
  const programs = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];
  const state = new FakeNode("ip link set dev lo down");
  for (const { ifname, altnames = [], group, flags, ifalias, linkinfo } of links) {
    if (ifname !== "lo") state.apply(`ip link add name ${ifname} group ${group} type ${linkinfo.info_kind}`);
    for (const altname of altnames) state.apply(`ip link property add dev ${ifname} altname ${altname}`);
    if (ifalias !== undefined) state.apply(`ip link set dev ${ifname} alias ${ifalias}`);
    if (flags.includes("UP")) state.apply(`ip link set dev ${ifname} up`);
  }
  for (const { ifname, addr_info } of links) {
    for (const address of addr_info) {
      const { local, prefixlen, broadcast, scope, family } = address;
      if (local.startsWith("fe80:") || ["127.0.0.1/8", "::1/128"].includes(`${local}/${prefixlen}`)) continue;
      state.apply([
        `ip address add ${local}${address.address === undefined ? "" : ` peer ${address.address}`}/${prefixlen}`,
        `dev ${ifname}`,
        ...family === "inet" ? [`scope ${scope}`] : address.tentative ? [] : ["nodad"],
        ...broadcast === undefined ? [] : [`broadcast ${broadcast}`],
        `valid_lft ${coarse(address.valid_life_time)} preferred_lft ${coarse(address.preferred_life_time)}`,
      ].join(" "));
    }
  }
  for (const program of programs) {
    for (const table of ["raw", "filter"]) {
      const listing = await namespace.ok([program, "-t", table, "-S"]);
      state.apply(listing.replaceAll(/^(?=.)/gm, `${program} -t ${table} `));
    }
  }
  return state.dump();
}

function runnerIn(namespace: Namespace, prefix: readonly string[] = []): CommandRunner {
  const commands = new SystemCommands(environmentOfCommands());
  return { start: (argv, options) => commands.start(namespace.argv([...prefix, ...argv]), options) };
}

async function isKnownRelease(namespace: Namespace, program: string): Promise<boolean> {
  const version = await namespace.ok([program, program === "ip" ? "-V" : "--version"]);
  return /iproute2-6\.1\.|v1\.8\.9 /.test(version);
}

/** Does something while a namespace has a fault. */
async function withFault<T>(namespace: Namespace, fault: Scenario["fault"], work: () => Promise<T>): Promise<T> {
  if (fault === "readOnlyRun") {
    await namespace.ok(["mount", "-o", "remount,ro", "/run"]);
    const result = await work();
    await namespace.ok(["mount", "-o", "remount,rw", "/run"]);
    return result;
  }
  if (fault !== "locked") return await work();
  const argv = ["flock", "--no-fork", "/run/xtables.lock", "sh", "-c", "echo held; exec sleep 60"];
  const holder = namespace.spawn(argv, { stdin: "null", stdout: "piped" });
  const reader = holder.stdout.getReader();
  await reader.read();
  const result = await work();
  holder.kill();
  await reader.cancel();
  await holder.status;
  return result;
}

function fill(text: string, family: 4 | 6, backend: NonNullable<Backend>): string {
  return text
    .replaceAll("ADDRESS", family === 4 ? "10.96.0.2/32" : "fd00:96::2/128")
    .replaceAll("PROGRAM4", `iptables-${backend}`)
    .replaceAll("PROGRAM6", `ip6tables-${backend}`)
    .replaceAll("PROGRAM", `${family === 4 ? "iptables" : "ip6tables"}-${backend}`);
}

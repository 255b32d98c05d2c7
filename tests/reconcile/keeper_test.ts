import { assertEquals } from "@std/assert";
import { Keeper, type PassRequest } from "../../lib/reconcile/keeper.ts";
import type { Report } from "../../lib/reconcile/reconcile.ts";
import { fakeLog } from "../support/fake_log.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const TO = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";
const FROM = "-s 10.96.0.2/32 -p tcp -m tcp --sport 443";
const ADDRESS = "ip address add 10.96.0.2/32 dev lo scope host";
const HINT = "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT\n";
const LIST = "*raw\n-S PREROUTING\n-S OUTPUT\nCOMMIT\n*filter\n-S INPUT\n-S OUTPUT\nCOMMIT\n# end of listing\n";

const START: PassRequest = { cause: "start", scope: "all" };
const INTERVAL = { ...START, cause: "interval" } as const;
const EVENT = { ...START, cause: "event" } as const;

Deno.test("Keeper.pass() puts everything there, in the back end that it finds", async () => {
  const [nft, legacy] = [lines("iptables-nft"), lines("iptables-legacy")];
  const cases: readonly (readonly [(node: FakeNode) => void, string, readonly string[], string | undefined])[] = [
    [() => {}, "", nft, "nft"],
    [() => {}, HINT, legacy, "legacy"],
    [() => {}, HINT.replace("legacy", "nft"), nft, "nft"],
    [(node) => ["iptables-nft-save", "ip6tables-nft-save"].forEach((it) => node.missing.add(it)), "", legacy, "legacy"],
    [lackVariants, "", nft, undefined],
    [
      (node) => {
        lackVariants(node);
        node.backend = "legacy";
      },
      "",
      legacy,
      undefined,
    ],
  ];
  for (const [prepare, state, rules, backend] of cases) {
    const { node, keeper } = start({ state });
    prepare(node);
    const report = await keeper.pass(START);
    assertEquals(node.dump().split("\n").filter((line) => !/mangle/.test(line)), [ADDRESS, ...rules, ""]);
    assertEquals([report.ok, keeper.backend, await keeper.known], [true, backend, backend]);
  }
});

for (const mode of ["nft", "legacy"] as const) {
  Deno.test(`Keeper.pass() looks for no hint when the mode is ${mode}`, async () => {
    const state = HINT + HINT.replace("legacy", "nft");
    const { node, keeper } = start({ state, flags: [`--iptables-mode=${mode}`] });
    assertEquals(await keeper.known, mode);
    for (const request of [START, INTERVAL]) await keeper.pass(request);
    assertEquals(programs(node), [`iptables-${mode}-restore`, "ip", `iptables-${mode}-restore`, "ip"]);
    assertEquals(rulesOf(node), lines(`iptables-${mode}`));
  });
}

Deno.test("Keeper.pass() starts no iptables when no rules are wanted", async () => {
  const { node, keeper } = start({ flags: ["--setup-iptables=false"] });
  assertEquals([await keeper.known, keeper.backend, keeper.rules], [undefined, undefined, []]);
  for (const request of [START, INTERVAL, EVENT]) await keeper.pass(request);
  assertEquals([programs(node), node.dump()], [["ip", "ip", "ip"], `${ADDRESS}\n`]);
  assertEquals(await keeper.strays(), undefined);
});

Deno.test("Keeper.pass() looks only at what it is asked to", async () => {
  const { node, keeper } = start();
  await keeper.pass(START);
  node.apply(`ip address del 10.96.0.2/32 dev lo\niptables-nft -D INPUT ${TO} -j ACCEPT`);
  node.processes.length = 0;
  const addresses = await keeper.pass({ cause: "event", scope: "addresses" });
  assertEquals([programs(node), statesOf(addresses)], [["ip"], ["lo present present", "10.96.0.2 missing present"]]);
  node.processes.length = 0;
  const rules = await keeper.pass({ cause: "event", scope: "rules" });
  assertEquals([programs(node), statesOf(rules).slice(3)], [["iptables-nft-restore"], [
    "INPUT missing present",
    "OUTPUT present present",
  ]]);
});

Deno.test("Keeper.pass() asks for fresh processes at each full look, and for kept ones at events", async () => {
  const { node, keeper, fresh } = start({ flags: ["--iptables-mode=nft"] });
  for (const cause of ["start", "interval", "signal", "event", "retry"] as const) {
    await keeper.pass({ cause, scope: "all" });
  }
  await keeper.pass({ cause: "signal", scope: "rules" });
  assertEquals(fresh.map(Number).join(""), "11111100001");
  assertEquals(node.running.size, 0);
});

Deno.test("Keeper.pass() moves the rules when a hint appears, at a full look, once", async () => {
  await using log = await fakeLog();
  const { node, keeper } = start();
  await keeper.pass(START);
  node.apply(HINT);
  for (const cause of ["event", "retry"] as const) await keeper.pass({ cause, scope: "all" });
  assertEquals([keeper.backend, rulesOf(node)], ["nft", lines("iptables-nft")]);
  const report = await keeper.pass(INTERVAL);
  assertEquals([keeper.backend, rulesOf(node), report.ok], ["legacy", lines("iptables-legacy"), true]);
  assertEquals(log.take(), [
    'I The node uses another back end of iptables now, the rules move there backend="legacy"',
  ]);
  node.apply(`iptables-nft -t mangle -N KUBE-IPTABLES-HINT\n${lines("iptables-nft")[3]}`);
  node.processes.length = 0;
  await keeper.pass(INTERVAL);
  assertEquals(programs(node), ["iptables-legacy-restore", "ip"], "sure of it, and others' rules left alone");
  assertEquals([keeper.backend, log.take()], ["legacy", []]);
});

Deno.test("Keeper.pass() keeps the old rules until the new ones stand", async () => {
  const { node, keeper } = start();
  await keeper.pass(START);
  node.apply(HINT);
  node.fail.set("iptables-legacy-restore", [4, "Resource temporarily unavailable\n"]);
  await keeper.pass(INTERVAL);
  assertEquals(rulesOf(node), lines("iptables-nft"));
  node.fail.clear();
  await keeper.pass(INTERVAL);
  assertEquals(rulesOf(node), lines("iptables-legacy"));
});

Deno.test("Keeper.strays() names the other back end when rules of ours stand there", async () => {
  for (const [mode, other] of [["nft", "legacy"], ["legacy", "nft"]] as const) {
    const { node, keeper } = start({ flags: [`--iptables-mode=${mode}`] });
    assertEquals(await keeper.strays(), undefined);
    node.apply(lines(`iptables-${other}`)[1]!);
    assertEquals(await keeper.strays(), other);
    await keeper.pass(START);
    assertEquals(await keeper.strays(), other, "a pass leaves them");
  }
});

Deno.test("Keeper.pass() waits for a link of somebody else's that goes, and fills it when it is back", async () => {
  const flags = ["--interface=eth9", "--setup-iptables=false"];
  const { node, keeper } = start({ state: "ip link add name eth9 type bridge\nip link set dev eth9 up", flags });
  await keeper.pass(START);
  const there = node.dump();
  node.apply("ip link del dev eth9");
  for (const request of [EVENT, INTERVAL, EVENT]) {
    const report = await keeper.pass(request);
    assertEquals(statesOf(report), ["eth9 missing missing", "10.96.0.2 missing missing"]);
    assertEquals(report.items[0]?.remedies, []);
    assertEquals(node.dump(), "");
  }
  node.apply("ip link add name eth9 type bridge\nip link set dev eth9 up");
  assertEquals((await keeper.pass(EVENT)).ok, true);
  assertEquals(node.dump(), there);
});

Deno.test("Keeper.pass() creates its own link again when it goes, of the type it was told", async () => {
  const { node, keeper } = start({ flags: ["--interface=proxy0"], linkType: "bridge" });
  await keeper.pass(START);
  const there = node.dump();
  assertEquals(there.split("\n").slice(0, 3), [
    "ip link add name proxy0 type bridge",
    "ip link set dev proxy0 alias apiserver-proxy-sidecar up",
    "ip address add 10.96.0.2/32 dev proxy0 scope global",
  ]);
  for (const request of [EVENT, INTERVAL]) {
    node.apply("ip link del dev proxy0");
    assertEquals((await keeper.pass(request)).ok, true);
    assertEquals(node.dump(), there);
  }
});

Deno.test("Keeper.pass() gives pauses to what is lost again and again, and to nothing else", async () => {
  await using log = await fakeLog();
  const { node, keeper } = start();
  await keeper.pass(START);
  const lose = () => node.apply(`ip address del 10.96.0.2/32 dev lo\niptables-nft -D INPUT ${TO} -j ACCEPT`);
  for (let lost = 1; lost <= 4; lost++) {
    lose();
    assertEquals((await keeper.pass(EVENT)).ok, true);
  }
  node.apply("ip address del 10.96.0.2/32 dev lo");
  assertEquals((await keeper.pass({ cause: "event", scope: "addresses" })).ok, true);
  const [address, rule] = ['address="10.96.0.2/32"', `rule="filter INPUT ${TO} -j ACCEPT"`];
  const begins = "W Something else keeps removing it: repairs get pauses of up to a second";
  assertEquals(log.take(), [`${begins} ${address} lost="5 times in 0s"`]);
  assertEquals([keeper.damped, keeper.again("all")], [1, 125]);
  lose();
  const report = await keeper.pass(EVENT);
  assertEquals(statesOf(report).filter((text) => text.includes("missing")), [
    "10.96.0.2 missing missing",
    "INPUT missing present",
  ]);
  assertEquals(report.items.filter(({ damped }) => damped).map(({ item: { kind } }) => kind), ["address", "rule"]);
  assertEquals(log.take(), [`${begins} ${rule} lost="5 times in 0s"`]);
  await node.clock.advance(125);
  assertEquals((await keeper.pass(EVENT)).ok, true);
  await node.clock.advance(10_000);
  await keeper.pass(EVENT);
  const over = "I Nothing removes it any more";
  assertEquals(log.take(), [`${over} ${address} lost="6 times in 0s"`, `${over} ${rule} lost="5 times in 0s"`]);
  assertEquals([keeper.damped, keeper.again("all")], [0, undefined]);
});

Deno.test("Keeper.pass() does not count what is added at the start as lost", async () => {
  const { node, keeper } = start();
  for (let count = 0; count < 10; count++) {
    await keeper.pass(START);
    node.apply("ip address del 10.96.0.2/32 dev lo");
  }
  assertEquals(keeper.damped, 0);
});

for (const backend of ["nft", "legacy"] as const) {
  Deno.test(`Keeper.look() changes nothing, and tells no command to, when the back end is ${backend}`, async () => {
    for (const state of ["", `${ADDRESS}\n${lines(`iptables-${backend}`).slice(1).join("\n")}`]) {
      const { node, keeper } = start({ state: state + "\n" + (backend === "legacy" ? HINT : "") });
      const before = node.dump();
      const report = await keeper.look();
      assertEquals(node.dump(), before);
      const found = state === "" ? "missing missing" : "present present";
      assertEquals(statesOf(report), [
        "lo present present",
        `10.96.0.2 ${found}`,
        `PREROUTING ${found}`,
        "OUTPUT missing missing",
        `OUTPUT ${found}`,
        `INPUT ${found}`,
        `OUTPUT ${found}`,
      ]);
      assertEquals(report.items.flatMap(({ remedies }) => remedies).length, state === "" ? 6 : 1);
      assertEquals(node.processes.map(({ argv, stdin }) => `${argv.join(" ")}\n${stdin}`), [
        "ip -json -details -force -batch -\naddress show dev lo\n",
        "iptables-nft-save -t mangle\n",
        "ip6tables-nft-save -t mangle\n",
        "iptables-legacy-save\n",
        "ip6tables-legacy-save\n",
        backend === "nft" ? `iptables-nft-restore --noflush --verbose --wait=5\n${LIST}` : "iptables-legacy-save\n",
      ]);
    }
  });
}

interface StartOptions {
  readonly state?: string;
  readonly flags?: readonly string[];
  readonly linkType?: string;
}

interface Started {
  readonly node: FakeNode;
  readonly keeper: Keeper;
  /** Of each process, whether it had to be a fresh one. */
  readonly fresh: boolean[];
}

function start({ state = "", flags = [], linkType }: StartOptions = {}): Started {
  const node = new FakeNode(state);
  const fresh: boolean[] = [];
  const runner: FakeNode = Object.create(node, {
    start: {
      value: (...[argv, options]: Parameters<FakeNode["start"]>) => {
        fresh.push(options.fresh === true);
        return node.start(argv, options);
      },
    },
  });
  const config = configOf("--setup-iptables", ...flags);
  return { node, keeper: new Keeper(config, { runner, clock: node.clock, linkType }), fresh };
}

function lackVariants(node: FakeNode): void {
  for (const family of ["iptables", "ip6tables"]) {
    for (const backend of ["nft", "legacy"]) node.missing.add(`${family}-${backend}-save`);
  }
}

/** The rules as {@linkcode FakeNode.dump} has them. */
function lines(program: string): readonly string[] {
  return [
    `${program} -t raw -A OUTPUT ${TO} -j NOTRACK`,
    `${program} -t raw -A OUTPUT ${FROM} -j NOTRACK`,
    `${program} -t raw -A PREROUTING ${TO} -j NOTRACK`,
    `${program} -t filter -A INPUT ${TO} -j ACCEPT`,
    `${program} -t filter -A OUTPUT ${FROM} -j ACCEPT`,
  ];
}

function rulesOf(node: FakeNode): readonly string[] {
  return node.dump().split("\n").filter((line) => / -[AP] /.test(line));
}

function programs(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv }) => argv[0]!);
}

/** What each item is called, and how it stood before and after. */
function statesOf({ items }: Report): readonly string[] {
  return items.map(({ item, before, after }) => {
    const name = item.kind === "link" ? item.name : item.kind === "address" ? item.ip : item.chain;
    return `${name} ${before?.state} ${after?.state}`;
  });
}

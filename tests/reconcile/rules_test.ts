import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { backendOf, RulesKeeper } from "../../lib/reconcile/rules.ts";
import { fakeLog } from "../support/fake_log.ts";
import { settled } from "../support/fake_clock.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";
import { dumpedRules } from "../support/texts.ts";

const HINT = "iptables-legacy -t mangle -N KUBE-IPTABLES-HINT\n";

Deno.test("RulesKeeper.pass() puts everything there, in the back end that it finds", async () => {
  const [nft, legacy] = [dumpedRules("iptables-nft"), dumpedRules("iptables-legacy")];
  const cases: readonly (readonly [(node: FakeNode) => void, string, readonly string[], string | undefined])[] = [
    [() => {}, "", nft, "nft"],
    [() => {}, HINT, legacy, "legacy"],
    [() => {}, HINT.replace("legacy", "nft"), nft, "nft"],
    [
      (node) => ["iptables-nft-restore", "ip6tables-nft-restore"].forEach((it) => node.missing.add(it)),
      "",
      legacy,
      "legacy",
    ],
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
    const report = await keeper.pass("start");
    assertEquals(node.dump().split("\n").filter((line) => !/mangle/.test(line)), [...rules, ""]);
    assertEquals([report.ok, backendIn(report)], [true, backend]);
    await keeper[Symbol.asyncDispose]();
  }
});

for (const mode of ["nft", "legacy"] as const) {
  Deno.test(`RulesKeeper.pass() looks for no hint when the mode is ${mode}`, async () => {
    const state = HINT + HINT.replace("legacy", "nft");
    const { node, keeper } = start({ state, flags: [`--iptables-mode=${mode}`] });
    for (const cause of ["start", "interval"] as const) await keeper.pass(cause);
    await keeper[Symbol.asyncDispose]();
    const strays = mode === "nft" ? ["ip"] : Array(2).fill("iptables-nft-save");
    const made = mode === "nft" ? ["nft"] : [];
    assertEquals(programs(node), [`iptables-${mode}-restore`, ...made, ...strays, `iptables-${mode}-restore`]);
    assertEquals(rulesOf(node), dumpedRules(`iptables-${mode}`));
  });
}

Deno.test("RulesKeeper.pass() moves the rules when a hint appears, at a full look, once", async () => {
  await using log = await fakeLog();
  const { node, keeper } = start();
  await keeper.pass("start");
  node.apply(HINT);
  for (const cause of ["event", "retry", "poll"] as const) {
    assertEquals(backendIn(await keeper.pass(cause)), "nft");
  }
  assertEquals(rulesOf(node), dumpedRules("iptables-nft"));
  const report = await keeper.pass("interval");
  assertEquals([backendIn(report), rulesOf(node), report.ok], ["legacy", dumpedRules("iptables-legacy"), true]);
  assertEquals(log.take(), [
    'I The node uses another back end of iptables now, the rules move there backend="legacy"',
  ]);
  node.apply(`iptables-nft -t mangle -N KUBE-IPTABLES-HINT\n${dumpedRules("iptables-nft")[3]}`);
  node.processes.length = 0;
  assertEquals(backendIn(await keeper.pass("interval")), "legacy");
  assertEquals(programs(node), ["iptables-legacy-restore"], "sure of it, and others' rules left alone");
  assertEquals(log.take(), []);
  await keeper[Symbol.asyncDispose]();
});

Deno.test("RulesKeeper.pass() warns of nothing when it is stopped while the rules move", async () => {
  await using log = await fakeLog();
  const { node, keeper } = start();
  await keeper.pass("start");
  node.apply(HINT);
  node.slow.set("iptables-legacy-restore", 100);
  const stop = new AbortController();
  const moving = keeper.pass("interval", stop.signal);
  await settled();
  node.hang.add("iptables-nft-restore");
  await node.clock.advance(1000);
  assertEquals(rulesOf(node), [...dumpedRules("iptables-nft"), ...dumpedRules("iptables-legacy")]);
  stop.abort();
  await moving;
  assertEquals(log.take(), [
    'I The node uses another back end of iptables now, the rules move there backend="legacy"',
  ]);
  await keeper[Symbol.asyncDispose]();
});

Deno.test("RulesKeeper.pass() keeps the old rules until the new ones stand", async () => {
  const { node, keeper } = start();
  await keeper.pass("start");
  node.apply(HINT);
  node.fail.set("iptables-legacy-restore", [4, "Resource temporarily unavailable\n"]);
  await keeper.pass("interval");
  assertEquals(rulesOf(node), dumpedRules("iptables-nft"));
  node.fail.clear();
  await keeper.pass("interval");
  assertEquals(rulesOf(node), dumpedRules("iptables-legacy"));
  await keeper[Symbol.asyncDispose]();
});

Deno.test("RulesKeeper.pass() warns once of rules of ours in the other back end, and leaves them", async () => {
  await using log = await fakeLog();
  for (const [mode, other] of [["nft", "legacy"], ["legacy", "nft"]] as const) {
    const { node, keeper } = start({ flags: [`--iptables-mode=${mode}`], state: dumpedRules(`iptables-${other}`)[1]! });
    for (const cause of ["start", "interval"] as const) await keeper.pass(cause);
    await keeper[Symbol.asyncDispose]();
    assertEquals(log.take(), [
      "W Rules of an earlier run stand in the back end of iptables that the node does not use; cleanup removes them " +
      `backend="${other}"`,
    ]);
    assertEquals(rulesOf(node).includes(dumpedRules(`iptables-${other}`)[1]!), true);
  }
});

function backendIn({ backend }: Report): string | undefined {
  return backend?.certainty === "unknown" ? "unknown" : backend?.backend;
}

interface StartOptions {
  readonly state?: string;
  readonly flags?: readonly string[];
}

function start(
  { state = "", flags = [] }: StartOptions = {},
): { readonly node: FakeNode; readonly keeper: RulesKeeper } {
  const node = new FakeNode(state);
  const config = configOf("--setup-iptables", ...flags);
  const options = { runner: node, clock: node.clock, commandTimeout: config.commandTimeout, looksForStrays: true };
  return { node, keeper: new RulesKeeper(desired(config, "present"), backendOf(config), options) };
}

function lackVariants(node: FakeNode): void {
  for (const family of ["iptables", "ip6tables"]) {
    for (const backend of ["nft", "legacy"]) {
      for (const what of ["save", "restore"]) node.missing.add(`${family}-${backend}-${what}`);
    }
  }
}

function rulesOf(node: FakeNode): readonly string[] {
  return node.dump().split("\n").filter((line) => / -[AP] /.test(line));
}

function programs(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv }) => argv[0]!);
}

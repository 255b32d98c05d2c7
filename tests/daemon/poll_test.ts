import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import type { Backend } from "../../lib/node/iptables.ts";
import { pollRules } from "../../lib/daemon/poll.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const TO = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";
const FROM = "-s 10.96.0.2/32 -p tcp -m tcp --sport 443";
const RULES = `
  iptables-legacy -t raw -A PREROUTING ${TO} -j NOTRACK
  iptables-legacy -t raw -A OUTPUT ${TO} -j NOTRACK
  iptables-legacy -t raw -A OUTPUT ${FROM} -j NOTRACK
  iptables-legacy -t filter -A INPUT ${TO} -j ACCEPT
  iptables-legacy -t filter -A OUTPUT ${FROM} -j ACCEPT`;
const LISTINGS = ["iptables-legacy-save -t raw", "iptables-legacy-save -t filter"];

Deno.test("pollRules() lists the legacy tables at each interval, and is silent while the rules stand", async () => {
  await using run = start({ state: RULES });
  await run.clock.advance(4999);
  assertEquals(commands(run.node), []);
  await run.clock.advance(1);
  assertEquals(commands(run.node), LISTINGS);
  await run.clock.advance(595_000);
  assertEquals(commands(run.node).length, 2 * 120);
  assertEquals(run.events, []);
  assertEquals(run.clock.delays.length, 121, "one timer for each interval and no other");
});

Deno.test("pollRules() is silent about foreign rules, and about where ours stand", async () => {
  const foreign = `
    iptables-legacy -P INPUT DROP
    iptables-legacy -A INPUT -s 192.0.2.1/32 -j DROP
    iptables-legacy -I INPUT 1 -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j DROP
    iptables-legacy -t raw -I OUTPUT -s 192.0.2.1/32 -j ACCEPT
    iptables-nft -A INPUT ${TO} -j ACCEPT
    iptables-nft -A INPUT ${TO} -j ACCEPT`;
  await using run = start({ state: RULES + foreign });
  await run.clock.advance(20_000);
  assertEquals(run.events, []);
});

Deno.test("pollRules() knows NOTRACK under its newer name", async () => {
  await using run = start({ state: RULES, prepare: (node) => node.modern = true });
  await run.clock.advance(20_000);
  assertEquals(run.events, []);
});

Deno.test("pollRules() asks for a pass at each look at which a rule is missing, until it is back", async () => {
  for (const line of RULES.trim().split("\n").map((line) => line.trim())) {
    await using run = start({ state: RULES });
    await run.clock.advance(6000);
    run.node.apply(line.replace(" -A ", " -D "));
    await run.clock.advance(10_000);
    run.node.apply(line);
    await run.clock.advance(10_000);
    assertEquals(run.events, [10_000, 15_000], line);
  }
});

Deno.test("pollRules() asks for a pass when a rule stands twice", async () => {
  await using run = start({ state: `${RULES}\niptables-legacy -A INPUT ${TO} -j ACCEPT` });
  await run.clock.advance(5000);
  assertEquals(run.events, [5000]);
});

Deno.test("pollRules() asks for a pass when a table is flushed", async () => {
  for (const line of ["iptables-legacy -t raw -F OUTPUT", "iptables-legacy -F INPUT"]) {
    await using run = start({ state: RULES });
    run.node.apply(line);
    await run.clock.advance(5000);
    assertEquals(run.events, [5000], line);
  }
});

Deno.test("pollRules() asks for a pass, and goes on, when the listing fails in any way", async () => {
  const name = "iptables-legacy-save";
  const faults: Record<string, (node: FakeNode) => unknown> = {
    missing: (node) => node.missing.add(name),
    "not permitted": (node) => node.fail.set(name, [1, "iptables-save: Permission denied\n"]),
    crash: (node) => node.fail.set(name, [139, ""]),
    hang: (node) => node.hang.add(name),
  };
  for (const [fault, prepare] of Object.entries(faults)) {
    await using run = start({ state: RULES, prepare });
    await run.clock.advance(12_000);
    assertEquals(run.events, fault === "hang" ? [6000, 12_000] : [5000, 10_000], fault);
    run.node.missing.clear();
    run.node.fail.clear();
    run.node.hang.clear();
    await run.clock.advance(60_000);
    assertEquals(run.events.length, 2, fault);
  }
});

Deno.test("pollRules() looks at both families, and at one only when one is wanted", async () => {
  for (
    const [flags, listings] of [
      [["--ip-address=fd00::2"], [...LISTINGS, ...LISTINGS.map((line) => line.replace("ip", "ip6"))]],
      [["--port=443,6443"], LISTINGS],
    ] as const
  ) {
    await using run = start({ flags, interval: 1000 });
    await run.clock.advance(1000);
    assertEquals(commands(run.node), listings);
    assertEquals(run.events, [1000]);
  }
});

for (const backend of ["nft", undefined] as const) {
  Deno.test(`pollRules() asks for a pass at each interval, which looks itself, when the back end is ${backend}`, async () => {
    await using run = start({ backend });
    await run.clock.advance(15_000);
    assertEquals(run.events, [5000, 10_000, 15_000]);
    assertEquals(run.node.processes, []);
  });
}

Deno.test("pollRules() ends at once when it is stopped while it waits, or before", async () => {
  await using run = start({ state: RULES });
  await run.clock.advance(7000);
  run.stop.abort();
  await run.running;
  assertEquals([run.clock.waiting, commands(run.node).length], [0, 2]);
  const before = start({ prepare: (_, stop) => stop.abort() });
  await before.running;
  assertEquals([before.node.processes, before.events], [[], []]);
});

Deno.test("pollRules() ends at once, with its listings, when it is stopped while it looks", async () => {
  await using run = start({ state: RULES, prepare: (node) => node.hang.add("iptables-legacy-save") });
  await run.clock.advance(5500);
  assertEquals(run.node.running.size, 2);
  run.stop.abort();
  await run.running;
  assertEquals([run.clock.waiting, run.node.running.size], [0, 0]);
});

Deno.test("pollRules() asks for nothing when it is stopped while it looks", async () => {
  await using run = start({ state: RULES, prepare: (node) => node.hang.add("iptables-legacy-save") });
  await run.clock.advance(5500);
  run.stop.abort();
  await run.running;
  assertEquals(run.events, []);
});

interface StartOptions {
  readonly state?: string;
  readonly flags?: readonly string[];
  /** @default {"legacy"} */
  readonly backend?: Backend;
  readonly interval?: number;
  readonly prepare?: (node: FakeNode, stop: AbortController) => unknown;
}

interface Run extends AsyncDisposable {
  readonly node: FakeNode;
  readonly clock: FakeNode["clock"];
  readonly stop: AbortController;
  /** When a pass was asked for. */
  readonly events: readonly number[];
  readonly running: Promise<void>;
}

function start({ state = "", flags = [], interval = 5000, prepare, ...rest }: StartOptions = {}): Run {
  const node = new FakeNode(state);
  const { clock } = node;
  const stop = new AbortController();
  const events: number[] = [];
  prepare?.(node, stop);
  const { rules } = desired(configOf("--setup-iptables", ...flags), "present");
  const running = pollRules(rules, "backend" in rest ? rest.backend : "legacy", {
    runner: node,
    clock,
    interval,
    timeout: 1000,
    onEvent: () => void events.push(clock.now()),
    signal: stop.signal,
  });
  return {
    node,
    clock,
    stop,
    events,
    running,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      assertEquals([clock.waiting, node.running.size], [0, 0]);
    },
  };
}

/** The command lines that were started; none of them is told anything. */
function commands(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv, stdin }) => argv.join(" ") + stdin);
}

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { loseAddress, loseRule, RULE_GONE, startDaemon } from "../support/fake_daemon.ts";
import { fakeLog } from "../support/fake_log.ts";
import { TO } from "../support/texts.ts";

const INPUT = `iptables-nft -D INPUT ${TO} -j ACCEPT`;
const HOUR = 3_600_000;

Deno.test("runDaemon() makes a pass at the start, and looks once more when each watcher listens", async () => {
  await using run = startDaemon();
  await run.clock.advance(10_000);
  assertEquals(run.passes, [
    "0 start addresses ok",
    "0 start rules ok",
    "50 event addresses ok",
    "50 event rules ok",
  ]);
  assertEquals(run.node.dump().split("\n").length, 7);
  assertEquals(run.node.monitors, ["ip", "xtables-monitor"]);
});

Deno.test("runDaemon() repairs at once what an event tells of, and looks at no more than that", async () => {
  await using run = startDaemon();
  const wanted = await run.settle();
  loseAddress(run.node);
  await run.clock.advance(1);
  assertEquals([run.passes, run.node.dump()], [["1000 event addresses ok"], wanted]);
  loseRule(run.node);
  await run.clock.advance(1);
  assertEquals([run.passes.slice(1), run.node.dump()], [["1001 event rules ok"], wanted]);
});

Deno.test("runDaemon() repairs at each interval, and only then, when it does not watch", async () => {
  await using run = startDaemon(["--watch=false", "--sync-interval=10s"]);
  const wanted = await run.settle();
  run.node.apply("ip address del 10.96.0.2/32 dev lo");
  run.node.apply(INPUT);
  await run.clock.advance(25_000);
  assertEquals(run.passes, [
    "10000 interval addresses ok",
    "10000 interval rules ok",
    "20000 interval addresses ok",
    "20000 interval rules ok",
  ]);
  assertEquals([run.node.dump(), run.node.monitors, run.watchers], [wanted, [], []]);
});

Deno.test("runDaemon() makes a full pass at SIGHUP", async () => {
  await using run = startDaemon();
  const wanted = await run.settle();
  run.node.apply("ip address del 10.96.0.2/32 dev lo");
  run.signals.onReload();
  await run.clock.advance(10);
  assertEquals([run.passes, run.node.dump()], [["1000 signal addresses ok", "1000 signal rules ok"], wanted]);
});

Deno.test("runDaemon() wakes up for nothing but the interval in an idle hour", async () => {
  const hint = "iptables-nft -t mangle -N KUBE-IPTABLES-HINT";
  await using run = startDaemon([], { state: hint });
  await run.settle();
  await run.clock.advance(HOUR);
  const kinds = Map.groupBy(run.passes, (pass) => pass.replace(/^\d+ /, ""));
  assertEquals([...kinds].map(([kind, { length }]) => [kind, length]), [
    ["interval addresses ok", 60],
    ["interval rules ok", 60],
  ]);
  assertEquals(run.clock.delays, Array(120).fill(60_000));
  const started = Map.groupBy(run.node.processes, ({ argv }) => argv[0]);
  assertEquals([...started].map(([name, { length }]) => [name, length]), [["ip", 60], ["iptables-nft-restore", 60]]);
});

Deno.test("runDaemon() polls legacy rules, of which no event tells, without the lock", async () => {
  await using run = startDaemon(["--iptables-mode=legacy"]);
  const wanted = await run.settle();
  assertEquals(run.node.monitors, ["ip"]);
  await run.clock.advance(30_000);
  const { length } = run.passes;
  assert(length >= 6 && length <= 120, `${length} looks in 30 s`);
  assertEquals(run.passes.every((pass) => pass.endsWith(" poll rules ok")), true);
  assertEquals(new Set(run.node.processes.map(({ argv }) => argv[0])), new Set(["iptables-legacy-save"]));
  run.node.apply(INPUT.replace("nft", "legacy"));
  await run.clock.advance(5000);
  assertEquals(run.node.dump(), wanted);
});

Deno.test("runDaemon() makes ten passes a second at most while 20,000 events rain", async () => {
  await using run = startDaemon();
  const wanted = await run.settle();
  for (let tick = 0; tick < 40; tick++) {
    run.node.happen("xtables-monitor", { print: RULE_GONE.repeat(500) });
    run.node.happen("ip", { print: "1: lo    inet 10.96.0.2/32 scope host lo\n".repeat(50) });
    await run.clock.advance(50);
  }
  const last = run.passes.length;
  for (const scope of ["addresses", "rules"]) {
    const { length } = run.passes.filter((pass) => pass.includes(scope));
    assert(length >= 20 && length <= 25, `${length} passes over ${scope} in 2 s, of which 4 may be at once`);
  }
  loseAddress(run.node);
  await run.clock.advance(100);
  assertEquals([run.node.dump(), run.passes.length <= last + 2], [wanted, true]);
  await run.clock.advance(5000);
  assertLessOrEqual(run.passes.length, last + 2);
});

Deno.test("runDaemon() says that rules of an earlier run stand in the other back end", async () => {
  await using log = await fakeLog();
  await using run = startDaemon([], { state: `iptables-legacy -t raw -A OUTPUT ${TO} -j NOTRACK` });
  await run.settle();
  assertEquals(log.take(), [
    "W Rules of an earlier run stand in the back end of iptables that the node does not use; cleanup removes them " +
    'backend="legacy"',
  ]);
});

Deno.test("runDaemon() ends at once, with all its processes, when it is stopped while it waits", async () => {
  const run = startDaemon();
  await run.settle();
  const dump = run.node.dump();
  run.stop.abort();
  await run.running;
  assertEquals([run.stops, run.passes, run.node.running.size, run.clock.waiting], [1, [], 0, 0]);
  assertEquals(run.node.dump(), dump, "all is left in place");
});

import { assert, assertEquals, assertLess, assertLessOrEqual, assertNotEquals } from "@std/assert";
import { loseAddress, loseRule, RULE_GONE, type Run, startDaemon } from "../support/fake_daemon.ts";
import { fakeLog } from "../support/fake_log.ts";
import type { FakeNode } from "../support/fake_node.ts";
import { TO } from "../support/texts.ts";

const INPUT = `iptables-nft -D INPUT ${TO} -j ACCEPT`;
const HOUR = 3_600_000;

Deno.test("runDaemon() says once that nobody tells of losses, and looks for them as often as that costs little", async () => {
  for (const lack of ["nft", "prlimit", "deaf"] as const) {
    await using log = await fakeLog();
    const prepare = (node: FakeNode) => {
      node.missing.add("xtables-monitor");
      return lack === "deaf" ? node.deaf.add("nft") : node.missing.add(lack);
    };
    await using run = startDaemon([], { prepare });
    const wanted = await run.settle();
    run.node.apply(INPUT);
    await run.clock.advance(5000);
    assertEquals(run.node.dump(), wanted, lack);
    await run.clock.advance(HOUR / 10);
    const told = log.take().filter((line) => line.startsWith("W Nothing tells of events"));
    assert(told.length >= 1 && told.length < 5, `${lack}: ${told.length}`);
    assertEquals(run.passes.filter((pass) => / (poll|interval) (addresses|rules) ok$/.test(pass)).length > 10, true);
  }
});

Deno.test("runDaemon() does not let a fight about one thing slow the repair of another", async () => {
  await using log = await fakeLog();
  await using run = startDaemon(["--ip-address=10.96.0.3"]);
  const wanted = await run.settle();
  log.take();
  let fights = true;
  const lost: number[] = [];
  run.afterPass = () => {
    if (!fights || !run.node.dump().includes("add 10.96.0.2/32")) return;
    lost.push(run.clock.now());
    queueMicrotask(() => loseAddress(run.node));
  };
  loseAddress(run.node);
  await run.clock.advance(20_000);
  const pauses = lost.slice(-10).map((time, index, all) => time - (all[index - 1] ?? time - 1000));
  assert(pauses.every((pause) => pause >= 900 && pause <= 1100), `${pauses}`);
  for (let time = 0; time < 5000; time += 730) {
    loseAddress(run.node, "10.96.0.3");
    await run.clock.advance(100);
    assert(run.node.dump().includes("add 10.96.0.3/32"), `${run.passes.slice(-5)}`);
    await run.clock.advance(630);
  }
  fights = false;
  await run.clock.advance(15_000);
  assertEquals(run.node.dump(), wanted);
  const lines = log.take().filter((line) => line.includes("10.96.0.2/32"));
  assertEquals(lines.map((line) => line.replace(/"\d+ times in \d+s"/, "N")), [
    'W Something else keeps removing it: repairs get pauses of up to a second address="10.96.0.2/32" lost=N',
    'I Nothing removes it any more address="10.96.0.2/32" lost=N',
  ]);
  run.passes.length = 0;
  await run.clock.advance(60_000);
  assertLessOrEqual(run.passes.length, 2);
});

Deno.test("runDaemon() starts a watcher again when it dies, and then looks", async () => {
  await using run = startDaemon();
  const wanted = await run.settle();
  for (const program of ["ip", "xtables-monitor"]) {
    run.node.happen(program, { signal: "SIGKILL" });
    run.node.apply(program === "ip" ? "ip address del 10.96.0.2/32 dev lo" : INPUT);
    await run.clock.advance(601);
    assertEquals(run.node.dump(), wanted);
  }
  // Another one stands in for the second, which has a pause.
  assertEquals([restartsOf(run), run.node.monitors], [["ip", "xtables-monitor"], ["ip", "nft"]]);
});

Deno.test("runDaemon() starts the watcher anew when an interval shows what no event told of", async () => {
  await using _log = await fakeLog();
  await using run = startDaemon(["--sync-interval=10s"]);
  await run.settle();
  const before = [...run.node.running];
  run.node.apply("ip address del 10.96.0.2/32 dev lo");
  await run.clock.advance(11_000);
  assertEquals(restartsOf(run), ["ip"]);
  const kept = [...run.node.running].filter((process) => before.includes(process)).map(({ name }) => name);
  assertEquals(kept, ["xtables-monitor"]);
  assertEquals(run.passes.map((pass) => pass.replace(/^\d+ /, "")), [
    "interval addresses ok",
    // The watcher that hung is ended, and the next one listens.
    "event addresses ok",
    "interval rules ok",
    "event addresses ok",
  ]);
});

Deno.test("runDaemon() ends at once when it is stopped during a pass, of which nobody is told", async () => {
  for (const program of ["ip", "iptables-nft-restore"]) {
    const run = startDaemon([], { prepare: (node) => node.hang.add(program) });
    await run.clock.advance(700);
    run.stop.abort();
    await run.running;
    const told = run.passes.filter((pass) => pass.includes(program === "ip" ? "addresses" : "rules"));
    assertEquals([run.stops, told, run.node.running.size, run.clock.waiting], [1, [], 0, 0], program);
  }
});

Deno.test("runDaemon() tries again, with growing waits, while something cannot be repaired", async () => {
  await using _log = await fakeLog();
  await using run = startDaemon([], {
    prepare: (node) => node.fail.set("iptables-nft-restore", [4, "Resource busy\n"]),
  });
  await run.clock.advance(30_000);
  const retries = run.passes.filter((pass) => pass.includes("retry"));
  assert(retries.length >= 4 && retries.length <= 9, run.passes.join());
  assertEquals(run.node.dump(), "ip address add 10.96.0.2/32 dev lo scope host\n");
  run.node.fail.clear();
  await run.clock.advance(32_000);
  assertEquals(run.node.dump().split("\n").length, 7);
});

for (
  const [name, prepare] of [
    ["the xtables lock is held", (node: FakeNode) => node.lockedUntil = 60_000],
    ["iptables hangs", (node: FakeNode) => node.hang.add("iptables-legacy-restore")],
  ] as const
) {
  Deno.test(`runDaemon() repairs the address at once while ${name}`, async () => {
    await using run = startDaemon(["--iptables-mode=legacy", "--sync-interval=5s"], {});
    const wanted = await run.settle();
    prepare(run.node);
    await run.clock.advance(5500);
    loseAddress(run.node);
    await run.clock.advance(200);
    const dump = run.node.dump();
    run.node.lockedUntil = 0;
    await run.clock.advance(5000);
    assertEquals(dump, wanted);
  });
}

Deno.test(
  "runDaemon() tries again soon after a short failure, however many events came",
  async () => {
    await using _log = await fakeLog();
    await using run = startDaemon();
    const wanted = await run.settle();
    run.node.fail.set("iptables-nft-restore", [4, "Resource busy\n"]);
    loseRule(run.node);
    for (let time = 0; time < 3000; time += 100) {
      run.node.happen("xtables-monitor", { print: RULE_GONE });
      await run.clock.advance(100);
    }
    run.node.fail.clear();
    const mended = run.clock.now();
    while (run.node.dump() !== wanted) await run.clock.advance(100);
    assertLessOrEqual(run.clock.now() - mended, 5000);
  },
);

Deno.test(
  "runDaemon() pauses when the other side is faster than its second look",
  async () => {
    await using log = await fakeLog();
    await using run = startDaemon();
    await run.settle();
    log.take();
    run.node.lose.push(/^ip address add 10\.96\.0\.2/);
    run.afterPass = () => run.node.happen("ip", { print: "Deleted 1: lo    inet 10.96.0.2/32 scope host lo\n" });
    loseAddress(run.node);
    await run.clock.advance(60_000);
    const repairs = run.node.processes.map(({ stdin }) => stdin).join("").split("address add").length - 1;
    // One a second, and one more in the same pass.
    assertLess(repairs, 150);
    assertEquals(log.take().filter((line) => line.startsWith("W Something else keeps removing it")).length, 1);
  },
);

Deno.test(
  "runDaemon() does not spin when what was fought about cannot be repaired",
  async () => {
    await using _log = await fakeLog();
    await using run = startDaemon();
    await run.settle();
    await fight(run);
    run.node.refuse.push([/^address add/, "RTNETLINK answers: No space left on device"]);
    loseAddress(run.node);
    await run.clock.advance(20_000);
    run.passes.length = 0;
    await run.clock.advance(60_000);
    assertLess(run.passes.length, 100);
  },
);

Deno.test("runDaemon() tries again within seconds when a repair fails of what was fought about", async () => {
  await using _log = await fakeLog();
  await using run = startDaemon();
  const wanted = await run.settle();
  await fight(run);
  run.node.refuse.push([/^address add/, "RTNETLINK answers: No space left on device"]);
  loseAddress(run.node);
  await run.clock.advance(1500);
  assertNotEquals(run.node.dump(), wanted);
  run.node.refuse.length = 0;
  await run.clock.advance(3000);
  assertEquals(run.node.dump(), wanted);
});

/** The address is lost so often that its repairs get pauses of a second. */
async function fight({ node, clock }: Run): Promise<void> {
  for (let lost = 0; lost < 6; lost++) {
    loseAddress(node);
    await clock.advance(2000);
  }
}

function restartsOf({ watchers }: Run): readonly string[] {
  return watchers.filter(({ kind }) => kind === "restarted").map(({ program }) => program);
}

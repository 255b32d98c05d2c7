import { assert, assertEquals, assertLess } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { addressMonitor, type Monitor, ruleMonitor, Watcher } from "../../lib/daemon/watch.ts";
import { type FakeClock, settled } from "../support/fake_clock.ts";
import { fakeLog } from "../support/fake_log.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const IP = addressMonitor(desired(configOf(), "present"));
const LOST = "Deleted 1: lo    inet 10.96.0.2/32 scope host lo\\       valid_lft forever preferred_lft forever\n";
const FOREIGN = "2: eth0    inet 10.0.0.7/24 scope global eth0\\       valid_lft forever preferred_lft forever\n";

Deno.test("Watcher.run() asks for a look half a second after the start", async () => {
  await using run = start();
  await run.clock.advance(499);
  assertEquals(run.events, []);
  await run.clock.advance(100_000);
  assertEquals(run.events, ["500 addresses"]);
  assertEquals(run.node.processes, [{ argv: ["ip", "-o", "monitor", "address", "link"], stdin: "" }]);
  assertEquals([run.restarts, run.clock.delays], [[], [500]]);
});

Deno.test("Watcher.run() asks for a look at once when a line concerns us, and only then", async () => {
  await using run = start();
  await run.clock.advance(1000);
  run.events.length = 0;
  for (const print of [FOREIGN, LOST, FOREIGN, FOREIGN, LOST + FOREIGN, FOREIGN + LOST, LOST.repeat(50)]) {
    run.node.happen("ip", { print });
    await run.clock.advance(10);
  }
  assertEquals(run.events, ["1010 addresses", "1040 addresses", "1050 addresses", "1060 addresses"]);
});

Deno.test("Watcher.run() waits for the end of a line", async () => {
  await using run = start();
  await run.clock.advance(1000);
  run.events.length = 0;
  for (const part of [LOST.slice(0, 30), LOST.slice(30, 31), LOST.slice(31, -1)]) {
    run.node.happen("ip", { print: part });
    await run.clock.advance(10);
  }
  assertEquals(run.events, []);
  run.node.happen("ip", { print: "\n" });
  await run.clock.advance(0);
  assertEquals(run.events, ["1030 addresses"]);
});

Deno.test("Watcher.run() asks for a look at most when the monitor prints garbage", async () => {
  await using run = start();
  await run.clock.advance(1000);
  run.events.length = 0;
  const garbage = [
    "\n",
    "\n\n\n",
    "\0\x1b[31m\ufffd\n",
    "Deleted\n",
    "rm -rf /\n",
    "10.96.0.2; reboot\n",
    "x".repeat(1e6) + "\n",
  ];
  for (const print of garbage) {
    run.node.happen("ip", { print });
    await run.clock.advance(1);
  }
  assertEquals(run.events, ["1005 addresses"]);
  assertEquals([run.node.processes.length, run.restarts], [1, []]);
});

Deno.test("Watcher.run() reads 100,000 lines in no time, as one reason to look", async () => {
  for (const [last, events] of [[FOREIGN, ""], [LOST, "1000 addresses"]] as const) {
    await using run = start();
    await run.clock.advance(1000);
    run.events.length = 0;
    const started = performance.now();
    run.node.happen("ip", { print: FOREIGN.repeat(100_000) + last });
    await run.clock.advance(0);
    assertLess(performance.now() - started, 1000);
    assertEquals(run.events.join(), events);
  }
});

Deno.test("Watcher.run() asks for a look when the monitor has lost events", async () => {
  await using run = start();
  await run.clock.advance(1000);
  run.events.length = 0;
  const complain = "Error: Could not receive message: No buffer space available\n";
  run.node.happen("ip", { complain });
  await run.clock.advance(10);
  assertEquals(run.events, ["1000 addresses"]);
  run.node.happen("ip", { complain, print: FOREIGN + LOST.slice(0, 20) });
  await run.clock.advance(10);
  run.node.happen("ip", { print: LOST.slice(20) });
  run.node.happen("ip", { print: FOREIGN });
  await run.clock.advance(10);
  assertEquals(run.events.slice(0, 2), ["1000 addresses", "1010 addresses"]);
  run.events.length = 0;
  run.node.happen("ip", { print: LOST });
  await run.clock.advance(10);
  assertEquals(run.events, ["1030 addresses"]);
  assertEquals([run.node.processes.length, run.restarts], [1, []]);
});

Deno.test("Watcher.run() starts the monitor again when it dies, with growing pauses up to 30 s", async () => {
  await using log = await fakeLog();
  await using run = start();
  await run.clock.advance(600);
  const longest = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
  for (const limit of longest) {
    run.node.happen("ip", { signal: "SIGKILL" });
    await settled();
    const { length } = run.node.processes;
    const pause = run.clock.delays.at(-1) ?? 0;
    assert(pause >= limit / 2 && pause <= limit, `${pause} ms, not ${limit / 2} to ${limit} ms`);
    await run.clock.advance(pause - 1);
    assertEquals([run.node.processes.length, run.node.running.size], [length, 0]);
    await run.clock.advance(2);
    assertEquals([run.node.processes.length, run.node.running.size], [length + 1, 1]);
  }
  assertEquals(run.restarts, longest.map(() => "ip"));
  assertEquals(run.events, ["500 addresses"], "no look in between, since no monitor lived half a second");
  const [first, ...reminders] = log.take();
  const cause = 'err="Cannot run ip: killed by SIGKILL" command="ip -o monitor address link" ended=';
  assertEquals(first, `W A watcher ended and is started again ${cause}"1 time in 0s"`);
  for (const line of reminders) assert(/"\d+ times in \d+[sm]"$/.test(line), line);
  assertLess(reminders.length, 3);
});

Deno.test("Watcher.run() asks for a look half a second after each new start", async () => {
  await using run = start();
  await run.clock.advance(600);
  for (let death = 0; death < 3; death++) {
    run.node.happen("ip", { signal: "SIGTERM" });
    await run.clock.advance(2000);
  }
  assertEquals(run.events.map((event) => event.split(" ")[1]), ["addresses", "addresses", "addresses", "addresses"]);
  assertEquals(run.node.processes.length, 4);
});

Deno.test("Watcher.run() pauses shortly again when the monitor had lived for a minute", async () => {
  await using run = start();
  for (let death = 0; death < 8; death++) {
    await run.clock.advance(40_000);
    run.node.happen("ip", { signal: "SIGKILL" });
  }
  await run.clock.advance(100_000);
  const { length } = run.node.processes;
  run.node.happen("ip", { signal: "SIGKILL" });
  await run.clock.advance(101);
  assertEquals(run.node.processes.length, length + 1);
});

Deno.test("Watcher.run() does the same when the monitor ends by itself, well or badly", async () => {
  await using log = await fakeLog();
  for (const [code, stderr] of [[0, ""], [1, "Cannot open netlink socket: Operation not permitted\n"]] as const) {
    await using run = start((node) => node.fail.set("ip", [code, stderr]));
    await run.clock.advance(10_000);
    const { length } = run.node.processes;
    assert(length >= 6 && length <= 9, `${length} processes in 10 s`);
    assertEquals(run.restarts.length, length);
  }
  assertEquals(log.take(), [
    'W A watcher ended and is started again command="ip -o monitor address link" ended="1 time in 0s"',
    'W A watcher ended and is started again err="Cannot run ip: Cannot open netlink socket: Operation not permitted; ' +
    'CAP_NET_ADMIN is missing: run as root, or give the container the capability NET_ADMIN" ' +
    'command="ip -o monitor address link" ended="1 time in 0s"',
  ]);
});

Deno.test("Watcher.run() gives false, and says nothing, when the monitor is not installed", async () => {
  await using log = await fakeLog();
  const node = new FakeNode();
  node.missing.add("nft");
  const { clock } = node;
  const onRestart = () => assert(false);
  const watcher = new Watcher(ruleMonitor(), { runner: node, clock, onEvent: onRestart, onRestart });
  assertEquals(await watcher.run(new AbortController().signal), false);
  assertEquals([node.processes.length, node.running.size, clock.waiting, log.take()], [1, 0, 0, []]);
});

Deno.test("Watcher.run() ends at once, with its monitor, when it is stopped while that runs", async () => {
  await using log = await fakeLog();
  for (const time of [100, 5000]) {
    await using run = start();
    await run.clock.advance(time);
    run.stop.abort();
    assertEquals(await run.running, true);
    assertEquals([run.node.running.size, run.clock.waiting, run.restarts], [0, 0, []]);
    assertEquals(run.events, time < 500 ? [] : ["500 addresses"]);
  }
  assertEquals(log.take(), []);
});

Deno.test("Watcher.run() ends at once when it is stopped while it pauses", async () => {
  await using run = start((node) => node.fail.set("ip", [1, ""]));
  await run.clock.advance(5000);
  const { length } = run.node.processes;
  run.stop.abort();
  assertEquals(await run.running, true);
  assertEquals([run.node.processes.length, run.node.running.size, run.clock.waiting], [length, 0, 0]);
});

Deno.test("Watcher.run() starts nothing when it is stopped before", async () => {
  await using run = start((_, stop) => stop.abort());
  assertEquals(await run.running, true);
  assertEquals([run.node.processes, run.events, run.clock.delays], [[], [], []]);
});

Deno.test("Watcher.restart() starts the monitor anew, and then asks for a look", async () => {
  await using run = start();
  await run.clock.advance(1000);
  const [before] = run.node.running;
  run.watcher.restart();
  await run.clock.advance(0);
  assertEquals(run.node.running.size, 0);
  await run.clock.advance(700);
  const [after] = run.node.running;
  assert(after !== undefined && after !== before);
  assertEquals([run.node.processes.length, run.restarts], [2, ["ip"]]);
  assertEquals(run.events.map((event) => event.split(" ")[1]), ["addresses", "addresses"]);
});

Deno.test("Watcher.restart() changes nothing while the monitor is about to be started", async () => {
  await using run = start();
  await run.clock.advance(1000);
  run.node.happen("ip", { signal: "SIGKILL" });
  await run.clock.advance(1);
  run.watcher.restart();
  run.watcher.restart();
  await run.clock.advance(5000);
  assertEquals([run.node.processes.length, run.node.running.size, run.restarts], [2, 1, ["ip"]]);
});

interface Run extends AsyncDisposable {
  readonly node: FakeNode;
  readonly clock: FakeClock;
  readonly watcher: Watcher;
  readonly stop: AbortController;
  /** When a look was asked for, and at what. */
  readonly events: string[];
  /** The programs that ended. */
  readonly restarts: string[];
  readonly running: Promise<boolean>;
}

/** Starts a watcher on a node that was prepared. */
function start(prepare = (_node: FakeNode, _stop: AbortController) => {}, monitor: Monitor = IP): Run {
  const node = new FakeNode();
  const { clock } = node;
  const stop = new AbortController();
  const events: string[] = [];
  const restarts: string[] = [];
  const watcher = new Watcher(monitor, {
    runner: node,
    clock,
    onEvent: (scope) => events.push(`${Math.round(clock.now())} ${scope}`),
    onRestart: (program) => restarts.push(program),
  });
  prepare(node, stop);
  const running = watcher.run(stop.signal);
  return {
    node,
    clock,
    watcher,
    stop,
    events,
    restarts,
    running,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      assertEquals([clock.waiting, node.running.size], [0, 0]);
    },
  };
}

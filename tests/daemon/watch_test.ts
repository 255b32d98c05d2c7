import { assert, assertEquals, assertLess } from "@std/assert";
import { Watcher } from "../../lib/daemon/watch.ts";
import { desired } from "../../lib/desired/desired.ts";
import { addressMonitor, findRuleMonitors, type Monitor, NFT_MONITOR } from "../../lib/node/monitor.ts";
import type { WatcherEvent } from "../../lib/reconcile/observer.ts";
import { type FakeClock, settled } from "../support/fake_clock.ts";
import { fakeLog } from "../support/fake_log.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const IP = addressMonitor(desired(configOf(), "present"));
const MONITOR = "ip -o monitor address link";
/** xtables-monitor 1.8.9, and nft monitor. */
const OLD = await findRuleMonitors(desired(configOf(), "present"), new FakeNode(), { timeout: 1000 });
const LOST = "Deleted 1: lo    inet 10.96.0.2/32 scope host lo\\       valid_lft forever preferred_lft forever\n";
const FOREIGN = "2: eth0    inet 10.0.0.7/24 scope global eth0\\       valid_lft forever preferred_lft forever\n";

Deno.test("Watcher.run() asks for a look when the kernel says that the monitor listens", async () => {
  await using run = start((node) => node.deaf.add("ip"));
  await run.clock.advance(1000);
  assertEquals([run.events, run.told, run.watcher.isListening], [[], [], false]);
  run.node.deaf.clear();
  await run.clock.advance(100_000);
  assertEquals([run.events, run.told, run.watcher.isListening], [[1550], ["1550 listening"], true]);
  assertEquals(commands(run.node), [MONITOR, ...Array(5).fill("ss -H -n -e -p -f netlink")]);
});

Deno.test("Watcher.run() takes a monitor that listens at once for listening where nobody can be asked", async () => {
  for (const [monitor, listens] of [[IP, true], [NFT_MONITOR, false]] as const) {
    await using run = start((node) => node.missing.add("ss"), monitor);
    await run.clock.advance(59_000);
    assertEquals([run.watcher.isListening, run.events.length], [listens, listens ? 1 : 0], monitor.program);
  }
});

Deno.test("Watcher.run() ends a monitor that does not listen after a minute, and tries it ever more seldom", async () => {
  await using log = await fakeLog();
  await using run = start((node) => node.deaf.add("nft"), NFT_MONITOR);
  await run.clock.advance(24 * 3_600_000);
  const starts = commands(run.node).filter((command) => command.endsWith("nft monitor")).length;
  assert(starts > 20 && starts < 60, `${starts} starts in a day`);
  assertEquals([run.events, run.watcher.isListening], [[], false]);
  const [first] = log.take();
  assertEquals(
    first,
    "W Nothing tells of events: looks stand in for them, as often as they cost little " +
      'err="Cannot run prlimit: it does not listen after 60s" ' +
      'command="prlimit --data=25165824 --cpu=2 nft monitor" ended="1 time in 0s"',
  );
});

Deno.test("Watcher.run() tries a monitor that fails at once ever more seldom, and says so once", async () => {
  await using log = await fakeLog();
  const said = "Error: syntax error, unexpected destroy\n";
  await using run = start((node) => node.fail.set("nft", [1, said]), NFT_MONITOR);
  await run.clock.advance(10 * 60_000);
  const { length } = run.node.processes;
  assert(length >= 3 && length <= 6, `${length} starts in ten minutes`);
  assertEquals(run.told.map((text) => text.split(" ")[1]), Array(length).fill("restarted"));
  assertLess(log.take().length, 5);
});

Deno.test("Watcher.run() asks for a look at once when a line concerns us, and only then", async () => {
  await using run = await listening();
  for (const print of [FOREIGN, LOST, FOREIGN, FOREIGN, LOST + FOREIGN, FOREIGN + LOST, LOST.repeat(50)]) {
    run.node.happen("ip", { print });
    await run.clock.advance(10);
  }
  assertEquals(run.events, [1010, 1040, 1050, 1060]);
});

Deno.test("Watcher.run() waits for the end of a line", async () => {
  await using run = await listening();
  for (const part of [LOST.slice(0, 30), LOST.slice(30, 31), LOST.slice(31, -1)]) {
    run.node.happen("ip", { print: part });
    await run.clock.advance(10);
  }
  assertEquals(run.events, []);
  run.node.happen("ip", { print: "\n" });
  await run.clock.advance(0);
  assertEquals(run.events, [1030]);
});

Deno.test("Watcher.run() asks for a look when it does not understand a line, and for nothing else", async () => {
  await using run = await listening();
  const garbage = [
    "\n",
    "\n\n\n",
    "\0\x1b[31m\ufffd\n",
    "Deleted\n",
    "rm -rf /\n",
    "10.96.0.2; reboot\n",
    "x".repeat(1e6),
  ];
  for (const print of garbage) {
    run.node.happen("ip", { print });
    await run.clock.advance(1);
  }
  assertEquals(run.events, garbage.map((_, index) => 1000 + index));
  assertEquals([commands(run.node), run.told], [[MONITOR], []]);
});

Deno.test("Watcher.run() reads 100,000 lines in no time, as one reason to look", async () => {
  for (const [last, events] of [[FOREIGN, [1500]], [LOST, [1000, 1500]]] as const) {
    await using run = await listening();
    const started = performance.now();
    run.node.happen("ip", { print: FOREIGN.repeat(100_000) + last });
    await run.clock.advance(0);
    assertLess(performance.now() - started, 2000);
    await run.clock.advance(500);
    assertEquals(run.events, [...events]);
  }
});

Deno.test("Watcher.run() asks for a look each half second of a storm, and after its end, however small its parts", async () => {
  await using run = await listening();
  for (let time = 0; time < 1200; time += 10) {
    run.node.happen("ip", { print: FOREIGN.repeat(3) });
    await run.clock.advance(10);
  }
  await run.clock.advance(10_000);
  assertEquals(run.events, [1500, 2000]);
  run.node.happen("ip", { print: FOREIGN.repeat(200) });
  await run.clock.advance(10_000);
  assertEquals(run.events, [1500, 2000, 12_700]);
});

Deno.test("Watcher.run() takes a few events of others for no storm", async () => {
  await using run = await listening();
  for (let time = 0; time < 10_000; time += 100) {
    run.node.happen("ip", { print: FOREIGN.repeat(10) });
    await run.clock.advance(100);
  }
  assertEquals(run.events, []);
});

Deno.test("Watcher.run() asks for a look, and tells, when the monitor has lost events", async () => {
  await using run = await listening();
  const complain = "netlink receive error No buffer space available (105)\n";
  run.node.happen("ip", { complain });
  await run.clock.advance(10);
  run.node.happen("ip", { print: complain });
  await run.clock.advance(10);
  run.node.happen("ip", { print: FOREIGN });
  await run.clock.advance(10);
  assertEquals([run.events, run.told], [[1000, 1010], ["1000 lost-events", "1010 lost-events"]]);
});

Deno.test("Watcher.run() starts the same monitor again soon when lost events ended it, and calls it no restart", async () => {
  await using log = await fakeLog();
  await using run = start(() => {}, ...OLD);
  await run.clock.advance(2000);
  const complain = "cannot receive from nfnetlink socket: No buffer space available\n";
  for (let storm = 0; storm < 10; storm++) {
    run.told.length = 0;
    run.node.happen("xtables-monitor", { complain, signal: "SIGABRT" });
    await run.clock.advance(5000);
    assertEquals(run.told.map((text) => text.split(" ")[1]), ["lost-events", "deaf", "listening"]);
    assertEquals(run.node.monitors, ["xtables-monitor"]);
  }
  run.told.length = 0;
  for (let time = 0; time < 60_000; time += 100) {
    run.node.happen("xtables-monitor", { complain, signal: "SIGABRT" });
    await run.clock.advance(100);
  }
  const starts = run.told.filter((text) => text.endsWith("lost-events")).length;
  assert(starts > 5 && starts < 15, `${starts} starts in a minute of storm`);
  assertEquals(log.take(), []);
});

Deno.test("Watcher.run() starts the monitor again when it dies, with growing pauses up to 30 s", async () => {
  await using log = await fakeLog();
  await using run = await listening();
  const longest = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
  for (const limit of longest) {
    run.node.happen("ip", { signal: "SIGKILL" });
    await settled();
    assertEquals(run.watcher.isListening, false);
    const pause = run.clock.delays.at(-1) ?? 0;
    assert(pause >= limit / 2 && pause <= limit, `${pause} ms, not ${limit / 2} to ${limit} ms`);
    await run.clock.advance(pause + 60);
    assertEquals(run.watcher.isListening, true);
  }
  assertEquals(run.events.length, 2 * longest.length, "a look when each ended, and when the next began to listen");
  const [first, ...reminders] = log.take();
  const cause = `err="Cannot run ip: killed by SIGKILL" command="${MONITOR}" ended=`;
  assertEquals(first, `W A watcher ended and is started again ${cause}"1 time in 0s"`);
  assertEquals(reminders.length, longest.length - 1, "each had listened, so that each trouble was over");
});

Deno.test("Watcher.run() pauses shortly again when the monitor had listened for a minute", async () => {
  await using run = await listening();
  for (let death = 0; death < 8; death++) {
    await run.clock.advance(40_000);
    run.node.happen("ip", { signal: "SIGKILL" });
  }
  await run.clock.advance(100_000);
  run.node.happen("ip", { signal: "SIGKILL" });
  await run.clock.advance(161);
  assertEquals(run.watcher.isListening, true);
});

Deno.test("Watcher.run() gives up when the monitor is not installed, and says so", async () => {
  await using log = await fakeLog();
  const run = start((node) => node.missing.add("prlimit"), NFT_MONITOR);
  await run.running;
  assertEquals([run.node.processes.length, run.node.running.size, run.clock.waiting, run.events], [1, 0, 0, []]);
  assertEquals(log.take(), [
    "W Nothing tells of events: looks stand in for them, as often as they cost little " +
    `err="Cannot run prlimit: not installed: Debian's package util-linux has it" ` +
    'command="prlimit --data=25165824 --cpu=2 nft monitor" ended="1 time in 0s"',
  ]);
});

Deno.test("Watcher.run() ends at once, with its monitor, whenever it is stopped", async () => {
  await using log = await fakeLog();
  for (const time of [0, 20, 50, 100, 5000]) {
    await using run = start();
    await run.clock.advance(time);
    run.stop.abort();
    await run.running;
    assertEquals([run.node.running.size, run.clock.waiting], [0, 0], `${time}`);
  }
  await using run = start((node) => node.fail.set("ip", [1, ""]));
  await run.clock.advance(5000);
  const { length } = run.node.processes;
  log.take();
  run.stop.abort();
  await run.running;
  assertEquals([run.node.processes.length, run.node.running.size, run.clock.waiting], [length, 0, 0]);
  await using stopped = start((_, stop) => stop.abort());
  await stopped.running;
  assertEquals([stopped.node.processes, log.take()], [[], []]);
});

Deno.test("Watcher.run() lets another monitor stand in for one that ends, and goes back when that ends", async () => {
  await using log = await fakeLog();
  await using run = start(() => {}, ...OLD);
  await run.clock.advance(1000);
  assertEquals(run.node.monitors, ["xtables-monitor"]);
  run.told.length = 0;
  const complain = "Parsing nftables rule failed\nPerhaps xtables-monitor or your kernel needs to be upgraded.\n";
  run.node.happen("xtables-monitor", { complain, signal: "SIGKILL" });
  await run.clock.advance(60);
  assertEquals([run.node.monitors, run.watcher.isListening], [["nft"], true]);
  assertEquals([run.told.map((text) => text.split(" ")[1]), log.take()], [["deaf", "listening"], []]);
  run.node.happen("nft", { signal: "SIGKILL" });
  await run.clock.advance(160);
  assertEquals([run.node.monitors, run.watcher.isListening], [["xtables-monitor"], true]);
  assertEquals(log.take().length, 1);
});

Deno.test("Watcher.run() does without a monitor that is not installed, and does not speak of it", async () => {
  await using log = await fakeLog();
  await using run = start((node) => node.missing.add("stdbuf"), ...OLD);
  await run.clock.advance(1000);
  assertEquals([run.node.monitors, run.watcher.isListening, log.take()], [["nft"], true, []]);
});

Deno.test("Watcher.restart() starts the monitor anew", async () => {
  await using log = await fakeLog();
  await using run = await listening();
  run.watcher.restart();
  await run.clock.advance(200);
  assertEquals(run.told.map((text) => text.split(" ")[1]), ["deaf", "restarted", "listening"]);
  assertEquals(log.take(), [
    'W A watcher ended and is started again err="Cannot run ip: it told nothing of a loss" ' +
    `command="${MONITOR}" ended="1 time in 0s"`,
  ]);
  run.watcher.restart();
  run.watcher.restart();
  await run.clock.advance(500);
  assertEquals([run.node.running.size, run.watcher.isListening], [1, true]);
});

/** A watcher that listens since the first second, of which nothing more is known. */
async function listening(): Promise<Run> {
  const run = start();
  await run.clock.advance(1000);
  assertEquals([run.events, run.watcher.isListening], [[50], true]);
  run.events.length = run.told.length = 0;
  run.node.processes.splice(1);
  return run;
}

function commands(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv }) => argv.join(" "));
}

interface Run extends AsyncDisposable {
  readonly node: FakeNode;
  readonly clock: FakeClock;
  readonly watcher: Watcher;
  readonly stop: AbortController;
  /** When a look was asked for. */
  readonly events: number[];
  /** What became of the monitor, and when. */
  readonly told: string[];
  readonly running: Promise<void>;
}

/** Starts a watcher on a node that was prepared. */
function start(prepare = (_node: FakeNode, _stop: AbortController) => {}, ...monitors: readonly Monitor[]): Run {
  const node = new FakeNode();
  const { clock } = node;
  const stop = new AbortController();
  const events: number[] = [];
  const told: string[] = [];
  const watcher = new Watcher(monitors.length > 0 ? monitors : [IP], {
    runner: node,
    clock,
    commandTimeout: 10_000,
    onEvent: () => void events.push(Math.round(clock.now())),
    onWatcher: ({ kind }: WatcherEvent) => void told.push(`${Math.round(clock.now())} ${kind}`),
  });
  prepare(node, stop);
  const running = watcher.run(stop.signal);
  return {
    node,
    clock,
    watcher,
    stop,
    events,
    told,
    running,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      assertEquals([clock.waiting, node.running.size], [0, 0]);
    },
  };
}

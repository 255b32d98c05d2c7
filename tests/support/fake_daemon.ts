/**
 * Test equipment: the daemon on a {@linkcode FakeNode}, with its clock.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { runDaemon } from "../../lib/daemon/daemon.ts";
import { Keeper } from "../../lib/reconcile/keeper.ts";
import type { Signals } from "../../lib/daemon/signals.ts";
import type { FakeClock } from "./fake_clock.ts";
import { FakeNode } from "./fake_node.ts";
import { configOf } from "./reports.ts";

const TO = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";

/** What `nft monitor` prints when a rule of ours goes. */
export const RULE_GONE = "delete rule ip filter INPUT handle 7\n";

/** A daemon that runs on a fake node. */
export interface Run extends AsyncDisposable {
  readonly node: FakeNode;
  readonly clock: FakeClock;
  readonly signals: Signals;
  readonly stop: AbortController;
  /** When, why and about what each pass was made, and how it ended. */
  readonly passes: string[];
  /** The watchers that ended. */
  readonly restarts: readonly string[];
  /** How often it was told of the first signal to stop. */
  readonly stops: number;
  readonly running: Promise<void>;
  afterPass: () => void;
  /** Lets the first second go by, forgets it, and gives what is there then. */
  settle(): Promise<string>;
}

/** Options for {@linkcode startDaemon}. */
export interface StartOptions {
  /** What is on the node, as {@linkcode FakeNode.dump} has it. */
  readonly state?: string;
  readonly prepare?: (node: FakeNode) => unknown;
}

/** Starts a daemon that keeps 10.96.0.2 and its rules. */
export function startDaemon(flags: readonly string[] = [], options: StartOptions = {}): Run {
  const { state = "", prepare = () => {} } = options;
  const node = new FakeNode(state);
  prepare(node);
  const { clock } = node;
  const config = configOf("--setup-iptables", ...flags);
  const stop = new AbortController();
  const signals = { stop: stop.signal, onReload: () => {} } as Signals;
  const restarts: string[] = [];
  const passes: string[] = [];
  const run = { node, clock, signals, stop, passes, restarts, stops: 0, afterPass: () => {} };
  const running = runDaemon({
    config,
    keeper: new Keeper(config, { runner: node, clock }),
    runner: node,
    clock,
    signals,
    observers: [{}, {
      onPass({ ok }, { cause, scope }) {
        passes.push(`${Math.round(clock.now())} ${cause} ${scope} ${ok ? "ok" : "not ok"}`);
        run.afterPass();
      },
      onWatcherRestart: (program) => void restarts.push(program),
      onStop: () => void run.stops++,
    }],
  });
  return Object.assign(run, {
    running,
    async settle() {
      await clock.advance(1000);
      for (const list of [passes, node.processes, clock.delays]) list.length = 0;
      return node.dump();
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      assertEquals([clock.waiting, node.running.size], [0, 0]);
    },
  });
}

/** Another program removes an address, and the kernel says so. */
export function loseAddress(node: FakeNode, ip = "10.96.0.2"): void {
  node.apply(`ip address del ${ip}/32 dev lo`);
  node.happen("ip", { print: `Deleted 1: lo    inet ${ip}/32 scope host lo\\       valid_lft forever\n` });
}

/** Another program removes a rule, and the kernel says so. */
export function loseRule(node: FakeNode): void {
  node.apply(`iptables-nft -D INPUT ${TO} -j ACCEPT`);
  node.happen("nft", { print: RULE_GONE });
}

/**
 * Test equipment: the daemon on a {@linkcode FakeNode}, with its clock.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { runDaemon } from "../../lib/daemon/daemon.ts";
import { desired } from "../../lib/desired/desired.ts";
import { AddressKeeper } from "../../lib/reconcile/addresses.ts";
import { backendOf, RulesKeeper } from "../../lib/reconcile/rules.ts";
import type { WatcherEvent } from "../../lib/reconcile/observer.ts";
import type { Signals } from "../../lib/daemon/signals.ts";
import type { FakeClock } from "./fake_clock.ts";
import { FakeNode } from "./fake_node.ts";
import { configOf } from "./reports.ts";
import { TO } from "./texts.ts";

/** What `xtables-monitor` prints when a rule of ours goes. */
export const RULE_GONE = " EVENT: -4 -t filter -D INPUT -j ACCEPT\n";

/** A daemon that runs on a fake node. */
export interface Run extends AsyncDisposable {
  readonly node: FakeNode;
  readonly clock: FakeClock;
  readonly signals: Signals;
  readonly stop: AbortController;
  /** When, why and about what each pass was made, and how it ended. */
  readonly passes: string[];
  /** What became of the watchers. */
  readonly watchers: WatcherEvent[];
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
export function startDaemon(flags: readonly string[] = [], startOptions: StartOptions = {}): Run {
  const { state = "", prepare = () => {} } = startOptions;
  const node = new FakeNode(state);
  prepare(node);
  const { clock } = node;
  const config = configOf("--setup-iptables", ...flags);
  const stop = new AbortController();
  const signals = { stop: stop.signal, onReload: () => {} } as Signals;
  const watchers: WatcherEvent[] = [];
  const passes: string[] = [];
  const run = { node, clock, signals, stop, passes, watchers, stops: 0, afterPass: () => {} };
  const wanted = desired(config, "present");
  const { commandTimeout } = config;
  const options = { runner: node, clock, commandTimeout };
  const keepers = [
    new RulesKeeper(wanted, backendOf(config), { ...options, looksForStrays: true }),
    new AddressKeeper(wanted, options),
  ];
  const keeping = runDaemon({
    config,
    desired: wanted,
    keepers,
    runner: node,
    clock,
    signals,
    observers: [{}, {
      onPass({ ok }, { cause, about }) {
        passes.push(`${Math.round(clock.now())} ${cause} ${about} ${ok ? "ok" : "not ok"}`);
        run.afterPass();
      },
      onWatcher: (event) => void watchers.push(event),
      onStop: () => void run.stops++,
    }],
  });
  const running = keeping.then(async () => {
    for (const keeper of keepers) await keeper[Symbol.asyncDispose]();
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
  node.happen("xtables-monitor", { print: RULE_GONE });
}

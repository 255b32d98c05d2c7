import type { Clock } from "../clock.ts";
import type { CommandRunner } from "../node/process.ts";
import type { Config } from "../config/config.ts";
import { desired } from "../desired/desired.ts";
import type { Backend } from "../node/iptables.ts";
import type { Keeper } from "../reconcile/keeper.ts";
import { getLog } from "../log/mod.ts";
import { Loop, type Request, type Scope } from "./loop.ts";
import type { Observer } from "../report/observer.ts";
import { pollRules } from "./poll.ts";
import type { Signals } from "./signals.ts";
import { addressMonitor, type Monitor, ruleMonitor, Watcher } from "./watch.ts";

const log = getLog("daemon");

/** How often rules are looked at whose kernel back end reports no events. */
const POLL_MS = 5000;

/** What a loop of its own looks after. */
type LoopScope = Exclude<Scope, "all">;

/** What a daemon works with. */
export interface DaemonOptions {
  readonly config: Config;
  readonly keeper: Keeper;
  readonly runner: CommandRunner;
  readonly clock: Clock;
  readonly observers: readonly Observer[];
  readonly signals: Signals;
}

/**
 * Keeps everything as desired, at each interval and at each event, until it is stopped. Addresses and rules have a loop
 * each, so that no address waits for the xtables lock, or for an iptables that hangs.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { config, keeper, clock, observers, signals } = options;
  const scopes: readonly LoopScope[] = config.setupIptables ? ["addresses", "rules"] : ["addresses"];
  const loops = new Map<LoopScope, Loop>();
  const watching = new Watching(options, (scope) => loops.get(scope)?.request("event"));
  let strays: Promise<void> | undefined;
  for (const scope of scopes) {
    const pass = async ({ cause, at }: Request, signal: AbortSignal) => {
      const { backend } = keeper;
      const report = await keeper.pass({ cause, scope }, { signal });
      if (signal.aborted) return { ok: false };
      for (const observer of observers) observer.onPass?.(report, { cause, scope, at });
      if (scope === "rules") {
        watching.follow(keeper.backend);
        if (cause === "start") strays = warnOfStrays(keeper, signal);
      }
      const peaceful = report.items.filter(({ damped }) => !damped);
      // Drift that no event told of: the watcher hangs, or has lost its place.
      const unseen = cause === "interval" && peaceful.some(({ before }) => before?.state === "missing");
      if (unseen && keeper.backend === backend) watching.restart(scope);
      return { ok: peaceful.every(({ after }) => after?.ok || after?.pending), again: keeper.again(scope) };
    };
    loops.set(scope, new Loop({ interval: config.syncInterval, clock, pass }));
  }
  signals.stop.addEventListener("abort", () => observers.forEach((observer) => observer.onStop?.()));
  signals.onReload = () => loops.forEach((loop) => loop.request("signal"));
  await Promise.all([...loops.values()].map((loop) => loop.run(signals.stop)));
  await Promise.all([watching.end(), strays]);
}

async function warnOfStrays(keeper: Keeper, signal: AbortSignal): Promise<void> {
  const backend = await keeper.strays(signal);
  if (backend === undefined || signal.aborted) return;
  log.warning(
    "Rules of an earlier run stand in the back end of iptables that the node does not use; cleanup removes them",
    {
      backend,
    },
  );
}

/** The watchers of a daemon. */
class Watching {
  readonly #options: DaemonOptions;
  readonly #request: (scope: LoopScope) => void;
  readonly #watchers = new Map<LoopScope, Watcher>();
  readonly #running: Promise<unknown>[] = [];
  /** Ends the watching of rules. */
  #rules: { readonly backend: Backend; readonly stop: AbortController } | undefined;

  constructor(options: DaemonOptions, request: (scope: LoopScope) => void) {
    this.#options = options;
    this.#request = request;
    const { config, signals } = options;
    if (config.watch) this.#running.push(this.#watch(addressMonitor(desired(config, "present")), signals.stop));
  }

  /** Watches the rules in the back end that holds them. */
  follow(backend: Backend): void {
    const { config, signals } = this.#options;
    if (!config.watch || !config.setupIptables || (this.#rules !== undefined && this.#rules.backend === backend)) {
      return;
    }
    this.#rules?.stop.abort();
    const stop = new AbortController();
    this.#rules = { backend, stop };
    signals.stop.addEventListener("abort", () => stop.abort());
    this.#running.push(this.#watchRules(backend, stop.signal));
  }

  /** Starts the monitor of a scope anew. */
  restart(scope: LoopScope): void {
    this.#watchers.get(scope)?.restart();
  }

  /** Resolves when all have ended. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  #watch(monitor: Monitor, signal: AbortSignal): Promise<boolean> {
    const { runner, clock, observers } = this.#options;
    const watcher = new Watcher(monitor, {
      runner,
      clock,
      onEvent: this.#request,
      onRestart: (program) => observers.forEach((observer) => observer.onWatcherRestart?.(program)),
    });
    this.#watchers.set(monitor.scope, watcher);
    return watcher.run(signal);
  }

  async #watchRules(backend: Backend, signal: AbortSignal): Promise<void> {
    const { config, keeper, runner, clock } = this.#options;
    const monitored = backend === "legacy" ? false : this.#watch(ruleMonitor(), signal);
    // The legacy back end reports no events, and which one the plain names drive is unknown.
    if (backend === "nft") {
      if (await monitored) return;
      log.warning("Losses of rules are noticed by polling: nft is not installed (Debian's package nftables)", {
        interval: `${POLL_MS / 1000}s`,
      });
    }
    await Promise.all([
      monitored,
      pollRules(keeper.rules, backend, {
        runner,
        clock,
        interval: Math.min(POLL_MS, config.syncInterval),
        timeout: config.commandTimeout,
        onEvent: () => this.#request("rules"),
        signal,
      }),
    ]);
  }
}

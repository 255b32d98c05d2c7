import type { Clock } from "../clock.ts";
import type { Config } from "../config/config.ts";
import type { Desired } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { addressMonitor, findRuleMonitors } from "../node/monitor.ts";
import type { Backend } from "../node/iptables.ts";
import type { CommandRunner } from "../node/process.ts";
import type { Keeper } from "../reconcile/keeper.ts";
import type { Observer } from "../reconcile/observer.ts";
import type { Report } from "../reconcile/pass.ts";
import { Loop, type Outcome, type Request } from "./loop.ts";
import type { Signals } from "./signals.ts";
import { Watcher } from "./watch.ts";

const log = getLog("daemon");

/** Where no watcher listens, the pause after a look is so many times as long as the look took: 1 % of a core … */
const POLL_FACTOR = 100;
/** … but within these bounds, in milliseconds. */
const POLL = { min: 250, max: 5000 } as const;

/** What a daemon works with. */
export interface DaemonOptions {
  readonly config: Config;
  readonly desired: Desired;
  readonly keepers: readonly Keeper[];
  readonly runner: CommandRunner;
  readonly clock: Clock;
  readonly observers: readonly Observer[];
  readonly signals: Signals;
}

/**
 * Keeps everything as desired, at each interval and at each event, until it is stopped. Each keeper has a loop and a watcher
 * of its own, so that no address waits for the xtables lock, or for an iptables that hangs.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { keepers, observers, signals } = options;
  const kept = keepers.map((keeper) => new Kept(keeper, options));
  signals.onReload = () => kept.forEach((each) => each.loop.request("signal"));
  const onStop = () => observers.forEach((observer) => observer.onStop?.());
  signals.stop.addEventListener("abort", onStop, { once: true });
  await Promise.all(kept.map((each) => each.run(signals.stop)));
  signals.stop.removeEventListener("abort", onStop);
}

/** What one keeper keeps: its loop asks for passes, its watcher asks the loop. */
class Kept {
  readonly loop: Loop;
  readonly #keeper: Keeper;
  readonly #options: DaemonOptions;
  #watcher: Watcher | undefined;
  /** The back end that is watched, and what ends that. */
  #watching: { readonly backend: Backend; readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  constructor(keeper: Keeper, options: DaemonOptions) {
    const { config: { syncInterval: interval }, clock } = options;
    this.#keeper = keeper;
    this.#options = options;
    this.loop = new Loop({ interval, clock, pass: (request, signal) => this.#pass(request, signal) });
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#keeper.about === "addresses") this.#watch(undefined);
    await this.loop.run(signal);
    await this.#unwatch();
  }

  async #pass({ cause, at }: Request, signal: AbortSignal): Promise<Outcome> {
    const { about } = this.#keeper;
    const report = await this.#keeper.pass(cause, signal);
    if (signal.aborted) return { ok: false };
    for (const observer of this.#options.observers) observer.onPass?.(report, { cause, about, at });
    // Drift that no event told of: the watcher hangs, or has lost its place.
    const isUnseen = cause === "interval" && report.items.some((it) => !it.damped && it.before?.state === "missing");
    if (isUnseen && this.#watcher?.isListening) this.#watcher.restart();
    this.#follow(report);
    return {
      ok: report.items.every(({ after, damped, error }) =>
        after?.ok || after?.pending || (damped && error === undefined)
      ),
      again: report.again,
      poll: this.#pollPause(report),
    };
  }

  /** Milliseconds until somebody has to look, since nobody is told of events; undefined if somebody is. */
  #pollPause({ ok, duration }: Report): number | undefined {
    if (!this.#options.config.watch || this.#watcher?.isListening) return undefined;
    // What failed is tried again at the loop's own pace.
    return ok ? Math.min(Math.max(POLL_FACTOR * duration, POLL.min), POLL.max) : POLL.max;
  }

  /** Watches the rules in the back end that holds them. */
  #follow({ backend }: Report): void {
    if (backend === undefined || backend.certainty === "unknown") return;
    if (this.#watching !== undefined && this.#watching.backend === backend.backend) return;
    this.#unwatch();
    this.#watch(backend.backend);
  }

  #watch(backend: Backend): void {
    const { config, signals } = this.#options;
    if (!config.watch) return;
    const stop = new AbortController();
    const abort = () => stop.abort();
    signals.stop.addEventListener("abort", abort);
    const done = this.#watchIn(backend, stop.signal).finally(() => signals.stop.removeEventListener("abort", abort));
    this.#watching = { backend, stop, done };
  }

  async #watchIn(backend: Backend, signal: AbortSignal): Promise<void> {
    const { desired, config: { commandTimeout }, runner, clock, observers } = this.#options;
    const isOfAddresses = this.#keeper.about === "addresses";
    if (!isOfAddresses && backend !== "nft") {
      // iptables-legacy tells nobody, and which one the plain names drive is unknown.
      log.v(2)?.info("Losses of rules are noticed by looking", { backend });
      return;
    }
    const monitors = isOfAddresses
      ? [addressMonitor(desired)]
      : await findRuleMonitors(desired, runner, { timeout: commandTimeout, signal });
    if (signal.aborted) return;
    this.#watcher = new Watcher(monitors, {
      runner,
      clock,
      commandTimeout,
      onEvent: () => this.loop.request("event"),
      onWatcher: (event) => observers.forEach((observer) => observer.onWatcher?.(event)),
    });
    await this.#watcher.run(signal);
  }

  async #unwatch(): Promise<void> {
    const watching = this.#watching;
    this.#watcher = undefined;
    watching?.stop.abort();
    await watching?.done;
  }
}

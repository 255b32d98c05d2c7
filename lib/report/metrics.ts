import type { Clock } from "../clock.ts";
import type { CommandResult } from "../node/process.ts";
import type { Config } from "../config/config.ts";
import { Exposition } from "./exposition.ts";
import { type ItemStates, KINDS } from "./item_states.ts";
import { iptablesProgram } from "../node/iptables.ts";
import type { Cause, Observer, PassInfo, WatcherEvent } from "../reconcile/observer.ts";
import type { Report } from "../reconcile/pass.ts";
import { COMMIT, VERSION } from "../version.ts";

const CAUSES: readonly Cause[] = ["start", "interval", "retry", "event", "poll", "signal"];
const RESULTS = ["ok", "failed"] as const;

/** Seconds: a pass takes 2 to 10 ms, and a command 1 to 10, when nothing is in their way; ten seconds are a timeout. */
const PASS_BOUNDS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const COMMAND_BOUNDS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10];
const REPAIR_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What {@linkcode Metrics} reads. */
export interface MetricsOptions {
  /** Told of each pass before the metrics are. */
  readonly states: ItemStates;
  /** The loop's clock. */
  readonly clock: Pick<Clock, "now">;
  /** Milliseconds since 1970. @default {Date.now} */
  readonly unixNow?: () => number;
}

/** What the daemon does, in numbers for Prometheus. */
export class Metrics implements Observer {
  readonly #options: Required<MetricsOptions>;
  readonly #exposition = new Exposition("apiserver_proxy_sidecar_");
  readonly #metrics: ReturnType<typeof define>;

  constructor(config: Config, options: MetricsOptions) {
    this.#options = { unixNow: Date.now, ...options };
    this.#metrics = define(this.#exposition, config);
    this.#metrics.buildInfo({ version: VERSION, commit: COMMIT, deno: Deno.version.deno }, 1);
    for (const kind of KINDS) this.#metrics.wanted({ kind }, options.states.count(kind).wanted);
  }

  /** The metrics as Prometheus reads them. */
  text(): string {
    return this.#exposition.text();
  }

  onPass({ ok, items, duration, commands }: Report, { cause, at }: Omit<PassInfo, "about">): void {
    const { passes, passDuration, repairs, repairLatency, present, damped, lastSuccess } = this.#metrics;
    const { states, clock, unixNow } = this.#options;
    passes({ result: ok ? "ok" : "failed", cause }, 1);
    passDuration({}, duration / 1000);
    const repaired = items.filter(({ before, after }) => before?.ok === false && after?.ok);
    for (const { item } of repaired) repairs({ kind: item.kind, cause }, 1);
    if (cause === "event" && repaired.length > 0) repairLatency({}, (clock.now() - at) / 1000);
    for (const kind of KINDS) present({ kind }, states.count(kind).present);
    damped({}, states.damped);
    if (states.ok) lastSuccess({}, unixNow() / 1000);
    for (const command of commands) this.#countCommand(command);
  }

  #countCommand({ argv: [program = ""], duration, error }: CommandResult): void {
    // An aborted command was not let finish, and not every node has every program that is looked for.
    if (error?.kind === "aborted" || error?.kind === "missing-program") return;
    const { commands, commandDuration, lockWaits } = this.#metrics;
    commands({ program, result: error === undefined ? "ok" : "failed" }, 1);
    commandDuration({ program }, duration / 1000);
    if (error?.kind === "locked") lockWaits({}, 1);
  }

  onWatcher({ program, kind }: WatcherEvent): void {
    const { watcherListening, watcherRestarts, lostEvents } = this.#metrics;
    switch (kind) {
      case "listening":
        return watcherListening({ program }, 1);
      case "deaf":
        return watcherListening({ program }, 0);
      case "restarted":
        return watcherRestarts({ program }, 1);
      case "lost-events":
        return lostEvents({ program }, 1);
    }
  }
}

function define(page: Exposition, config: Config) {
  const build = { version: [VERSION], commit: [COMMIT], deno: [Deno.version.deno] };
  const [program, watcher] = [{ program: programsOf(config) }, { program: watchersOf(config) }];
  const [kind, cause, result] = [{ kind: KINDS }, { cause: CAUSES }, { result: RESULTS }];
  return {
    buildInfo: page.gauge("build_info", "The running program; always 1.", build),
    wanted: page.gauge("wanted_items", "Items that are to be there.", kind),
    present: page.gauge("present_items", "Items that were as desired when last looked at.", kind),
    damped: page.gauge("damped_items", "Items that something else changes again and again.", {}),
    passes: page.counter("passes_total", "Passes, by why they were made.", { ...result, ...cause }),
    passDuration: page.histogram("pass_duration_seconds", "How long passes take.", {}, PASS_BOUNDS),
    lastSuccess: page.gauge(
      "last_success_timestamp_seconds",
      "When a pass last ended with every wanted item as desired; 0: never.",
      {},
    ),
    repairs: page.counter("repairs_total", "Items put right, by why they were looked at.", { ...kind, ...cause }),
    repairLatency: page.histogram(
      "repair_latency_seconds",
      "From a kernel event to the end of the pass that put right what it told of.",
      {},
      REPAIR_BOUNDS,
    ),
    commands: page.counter("commands_total", "Commands that ended.", { ...program, ...result }),
    commandDuration: page.histogram("command_duration_seconds", "How long commands take.", program, COMMAND_BOUNDS),
    lockWaits: page.counter("lock_waits_total", "Commands that waited for the xtables lock in vain.", {}),
    watcherListening: page.gauge("watcher_listening", "Whether the kernel hands events to a watcher.", watcher),
    lostEvents: page.counter(
      "watcher_lost_events_total",
      "Storms of events that were too much for a watcher.",
      watcher,
    ),
    watcherRestarts: page.counter(
      "watcher_restarts_total",
      "Watchers that ended and were started again.",
      watcher,
    ),
  };
}

/** The programs that passes run. */
function programsOf({ addresses, setupIptables, iptablesMode }: Config): readonly string[] {
  if (!setupIptables) return ["ip"];
  const backends = iptablesMode === "auto" ? ["nft", "legacy"] as const : [iptablesMode];
  const families = [...new Set(addresses.map(({ family }) => family))];
  return [
    "ip",
    ...backends.flatMap((backend) => families.map((family) => iptablesProgram("restore", family, backend))),
  ];
}

/** The programs that tell of events. */
function watchersOf({ watch, setupIptables, iptablesMode }: Config): readonly string[] {
  if (!watch) return [];
  return setupIptables && iptablesMode !== "legacy" ? ["ip", "nft", "xtables-monitor"] : ["ip"];
}

import type { Clock } from "../clock.ts";
import type { CommandResult } from "../node/process.ts";
import type { Config } from "../config/config.ts";
import { Inventory, KINDS } from "./item_states.ts";
import { iptablesProgram } from "../node/iptables.ts";
import type { Cause, Request } from "../daemon/loop.ts";
import type { Observer } from "./observer.ts";
import { loadPromClient, type PromClient } from "./prom_client.ts";
import type { Report } from "../reconcile/reconcile.ts";
import { COMMIT, VERSION } from "../version.ts";

const PREFIX = "apiserver_proxy_sidecar_";

const CAUSES: readonly Cause[] = ["start", "interval", "retry", "event", "signal"];
const RESULTS = ["ok", "failed"] as const;

/** Seconds: a pass takes 2 to 10 ms, and a command 1 to 10, when nothing is in their way; ten seconds are a timeout. */
const PASS_BUCKETS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const COMMAND_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 10];
const REPAIR_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The clocks that {@linkcode Metrics} reads. */
export interface MetricsClocks {
  /** The loop's clock. */
  readonly now: Clock["now"];
  /** Milliseconds since 1970. @default {Date.now} */
  readonly unixNow?: () => number;
}

/** What the daemon does, in numbers for Prometheus. */
export class Metrics implements Observer {
  readonly #clocks: Required<MetricsClocks>;
  readonly #inventory: Inventory;
  readonly #registry: InstanceType<PromClient["Registry"]>;
  readonly #series: ReturnType<typeof define>;
  /** The page as it stands; undefined when something changed since it was made. */
  #page: Promise<Uint8Array> | undefined;

  private constructor(client: PromClient, config: Config, clocks: MetricsClocks) {
    this.#clocks = { unixNow: Date.now, ...clocks };
    this.#inventory = new Inventory(config);
    this.#registry = new client.Registry();
    this.#series = define(client, this.#registry);
    this.#fill(config);
  }

  /** Loads what it takes to keep metrics, and gives all series that there can be, at 0. */
  static async load(config: Config, clocks: MetricsClocks): Promise<Metrics> {
    return new Metrics(await loadPromClient(), config, clocks);
  }

  /** Media type of {@linkcode Metrics.page}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The metrics as Prometheus reads them, in UTF-8. Made once for all that ask between two changes. */
  page(): Promise<Uint8Array> {
    return this.#page ??= this.#registry.metrics().then((text) => new TextEncoder().encode(text));
  }

  onPass(report: Report, { cause, at }: Request): void {
    const { passes, passDuration, repairs, repairLatency, lastSuccess } = this.#series;
    passes.inc({ result: report.ok ? "ok" : "failed", cause });
    passDuration.observe(report.duration / 1000);
    const repaired = report.items.filter(({ before, after }) => before?.ok === false && after?.ok);
    for (const { item } of repaired) repairs.inc({ kind: item.kind, cause });
    if (cause === "event" && repaired.length > 0) repairLatency.observe((this.#clocks.now() - at) / 1000);
    this.#inventory.update(report);
    if (this.#inventory.items.every(({ ok }) => ok)) lastSuccess.set(this.#clocks.unixNow() / 1000);
    this.#count();
  }

  onCommand({ argv: [program = "", ...args], duration, error }: CommandResult): void {
    // Monitors run for days, an aborted command was not let finish, and not every node has every program that is looked for.
    if (args.includes("monitor") || error?.kind === "aborted" || error?.kind === "missing-program") return;
    const { commands, commandDuration, lockWaits } = this.#series;
    commands.inc({ program, result: error === undefined ? "ok" : "failed" });
    commandDuration.observe({ program }, duration / 1000);
    if (error?.kind === "locked") lockWaits.inc();
    this.#page = undefined;
  }

  onWatcherRestart(program: string): void {
    this.#series.watcherRestarts.inc({ program });
    this.#page = undefined;
  }

  #fill(config: Config): void {
    const { buildInfo, passes, wanted, repairs, commands, commandDuration, watcherRestarts } = this.#series;
    buildInfo.set({ version: VERSION, commit: COMMIT, deno: Deno.version.deno }, 1);
    const items = this.#inventory.items;
    for (const kind of KINDS) {
      wanted.set({ kind }, items.filter((item) => item.kind === kind).length);
      for (const cause of CAUSES) repairs.inc({ kind, cause }, 0);
    }
    for (const result of RESULTS) {
      for (const cause of CAUSES) passes.inc({ result, cause }, 0);
      for (const program of programsOf(config)) commands.inc({ program, result }, 0);
    }
    for (const program of programsOf(config)) commandDuration.zero({ program });
    for (const program of watchersOf(config)) watcherRestarts.inc({ program }, 0);
    this.#count();
  }

  #count(): void {
    const items = this.#inventory.items;
    for (const kind of KINDS) {
      this.#series.present.set({ kind }, items.filter((item) => item.kind === kind && item.ok).length);
    }
    this.#series.damped.set(items.filter(({ damped }) => damped).length);
    this.#page = undefined;
  }
}

function define({ Counter, Gauge, Histogram }: PromClient, registry: InstanceType<PromClient["Registry"]>) {
  const about = <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) => ({
    name: PREFIX + name,
    help,
    labelNames,
    registers: [registry],
  });
  return {
    buildInfo: new Gauge(about("build_info", "The running program; always 1.", "version", "commit", "deno")),
    wanted: new Gauge(about("wanted_items", "Items that are to be there.", "kind")),
    present: new Gauge(about("present_items", "Items that were as desired when last looked at.", "kind")),
    damped: new Gauge(about("damped_items", "Items that something else changes again and again.")),
    passes: new Counter(about("passes_total", "Passes, by why they were made.", "result", "cause")),
    passDuration: new Histogram({
      ...about("pass_duration_seconds", "How long passes take."),
      buckets: PASS_BUCKETS,
    }),
    lastSuccess: new Gauge(
      about("last_success_timestamp_seconds", "When a pass last ended with every wanted item as desired; 0: never."),
    ),
    repairs: new Counter(about("repairs_total", "Items put right, by why they were looked at.", "kind", "cause")),
    repairLatency: new Histogram({
      ...about("repair_latency_seconds", "From a kernel event to the end of the pass that put right what it told of."),
      buckets: REPAIR_BUCKETS,
    }),
    commands: new Counter(about("commands_total", "Commands that ended.", "program", "result")),
    commandDuration: new Histogram({
      ...about("command_duration_seconds", "How long commands take.", "program"),
      buckets: COMMAND_BUCKETS,
    }),
    lockWaits: new Counter(about("lock_waits_total", "Commands that waited for the xtables lock in vain.")),
    watcherRestarts: new Counter(
      about("watcher_restarts_total", "Watchers that ended and were started again.", "program"),
    ),
  };
}

/** The programs that are run: those that repair, and those that look which back end holds rules. */
function programsOf({ addresses, setupIptables, iptablesMode }: Config): readonly string[] {
  if (!setupIptables) return ["ip"];
  const families = [...new Set(addresses.map(({ family }) => family))];
  const programs = (what: "restore" | "save", ...backends: ("nft" | "legacy")[]) =>
    backends.flatMap((backend) => families.map((family) => iptablesProgram(what, family, backend)));
  const used = iptablesMode === "auto" ? ["nft", "legacy"] as const : [iptablesMode];
  return ["ip", ...programs("restore", ...used), ...programs("save", "nft", "legacy")];
}

/** The programs that tell of events. */
function watchersOf({ watch, setupIptables, iptablesMode }: Config): readonly string[] {
  if (!watch) return [];
  return setupIptables && iptablesMode !== "legacy" ? ["ip", "nft"] : ["ip"];
}

/**
 * Kernel events, as a hint to look again.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import { type Monitor, PROOF_MS, untilListening } from "../node/monitor.ts";
import { type CommandRunner, linesOf } from "../node/process.ts";
import type { WatcherEvent } from "../reconcile/observer.ts";
import { Candidates, type End, hasHeard, isMissing } from "./candidates.ts";

const log = getLog("watch");

/**
 * So many lines in such a time are a storm. A line about ours may be far behind in it, or among those that the kernel dropped,
 * of which `nft` 1.0.6 tells only when it prints its next event: somebody looks at the end of each such time.
 */
const STORM = { lines: 100, ms: 500 } as const;
/** Options for {@linkcode Watcher}. */
export interface WatcherOptions {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  /** Longest time of one question to the kernel, in milliseconds. */
  readonly commandTimeout: number;
  /** Asks for a look. */
  readonly onEvent: () => void;
  /** Told what becomes of the monitor. */
  readonly onWatcher: (event: WatcherEvent) => void;
}

/** Asks for looks in storms. */
class Storms {
  readonly #options: Pick<WatcherOptions, "clock" | "onEvent">;
  /** Lines of the time that runs; undefined while none does. */
  #lines: number | undefined;

  constructor(options: Pick<WatcherOptions, "clock" | "onEvent">) {
    this.#options = options;
  }

  async count(lines: number, ended: AbortSignal): Promise<void> {
    if (this.#lines !== undefined) {
      this.#lines += lines;
      return;
    }
    this.#lines = lines;
    await this.#options.clock.delay(STORM.ms, ended);
    const isStorm = this.#lines >= STORM.lines;
    this.#lines = undefined;
    if (isStorm && !ended.aborted) this.#options.onEvent();
  }
}

/** Runs a monitor, and when it ends it or another one that tells of the same. */
export class Watcher {
  readonly #candidates: Candidates;
  readonly #options: WatcherOptions;
  readonly #troubles: Recurring;
  #isListening = false;
  readonly #storms: Storms;
  #life = new AbortController();

  /** @param monitors What tells of the same, the best first. */
  constructor(monitors: readonly Monitor[], options: WatcherOptions) {
    this.#candidates = new Candidates(monitors, options.clock.now);
    this.#options = options;
    this.#troubles = new Recurring({ now: options.clock.now });
    this.#storms = new Storms(options);
  }

  /** Whether events are heard now. Until then somebody has to look. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** Starts the monitor anew: it did not tell what it should have. */
  restart(): void {
    this.#life.abort("it told nothing of a loss");
  }

  /** Watches until the signal aborts, or none of the monitors turns out to be installed. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const onAbort = () => this.#life.abort();
    signal.addEventListener("abort", onAbort);
    for (let next = this.#candidates.first; next !== undefined;) {
      if (next.at > clock.now()) await clock.delay(next.at - clock.now(), signal);
      if (signal.aborted) break;
      const { monitor } = next;
      const end = await this.#live(monitor);
      if (signal.aborted) break;
      next = this.#candidates.after(next, end);
      if (hasHeard(end)) continue;
      // In the place of one that is not installed another may be there.
      if (!isMissing(end) || next === undefined) this.#tell(monitor, end);
      if (!isMissing(end)) this.#report(monitor, "restarted");
    }
    signal.removeEventListener("abort", onAbort);
  }

  /** One life of a monitor. */
  async #live(monitor: Monitor): Promise<End> {
    const { runner, clock } = this.#options;
    const life = this.#life = new AbortController();
    const ended = new AbortController();
    const process = runner.start(monitor.argv, { timeout: Infinity, signal: life.signal });
    const proven = this.#prove(monitor, process.pid, life, ended.signal);
    for await (const lines of linesOf(process)) this.#read(monitor, lines, ended.signal);
    ended.abort();
    const since = await proven;
    const { error, stderr } = await process.end();
    if (this.#isListening) this.#deafen(monitor);
    const last = monitor.judge(stderr.trimEnd().split("\n").at(-1) ?? "");
    return { error, listenedMs: since === undefined ? undefined : clock.now() - since, last };
  }

  /** Asks for a look, after which others follow as long as nobody listens. */
  #deafen(monitor: Monitor): void {
    this.#isListening = false;
    this.#report(monitor, "deaf");
    this.#options.onEvent();
  }

  /** However many lines there are, they are one reason to look. */
  #read(monitor: Monitor, lines: readonly string[], ended: AbortSignal): void {
    const kinds = new Set(lines.map((line) => monitor.judge(line)));
    if (kinds.has("lost")) this.#report(monitor, "lost-events");
    log.v(4)?.info("Read events", { program: monitor.program, lines: lines.length, kinds: [...kinds].join(",") });
    if ([...kinds].some((kind) => kind !== "foreign")) this.#options.onEvent();
    void this.#storms.count(lines.length, ended);
  }

  /** Waits until the monitor listens; gives since when, or undefined if it never did. */
  async #prove(
    monitor: Monitor,
    pid: number | undefined,
    life: AbortController,
    ended: AbortSignal,
  ): Promise<number | undefined> {
    if (pid === undefined) return undefined;
    const { runner, clock, commandTimeout: timeout, onEvent } = this.#options;
    const proven = await untilListening(runner, monitor, pid, { clock, timeout, signal: ended });
    if (ended.aborted) return undefined;
    if (!proven) {
      life.abort(`it does not listen after ${PROOF_MS / 1000}s`);
      return undefined;
    }
    this.#isListening = true;
    this.#troubles.over("trouble");
    this.#report(monitor, "listening");
    // What was lost while none listened shows in a look.
    onEvent();
    return clock.now();
  }

  #tell({ argv }: Monitor, { error, listenedMs }: End): void {
    const ended = this.#troubles.report("trouble");
    if (ended === undefined) return;
    log.warning(
      listenedMs !== undefined
        ? "A watcher ended and is started again"
        : "Nothing tells of events: looks stand in for them, as often as they cost little",
      {
        command: argv.join(" "),
        ended: repeatText(ended),
        ...error && { error },
      },
    );
  }

  #report({ program }: Monitor, kind: WatcherEvent["kind"]): void {
    this.#options.onWatcher({ program, kind });
  }
}

/**
 * Kernel events, as a hint to look again.
 *
 * @module
 */
import { backoff, type Clock } from "../clock.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import type { CommandError } from "../node/command_error.ts";
import { isListening, type Monitor } from "../node/monitor.ts";
import { type CommandRunner, linesOf } from "../node/process.ts";
import type { WatcherEvent } from "../reconcile/observer.ts";

const log = getLog("watch");

/** The kernel is asked whether a monitor listens after such pauses, in milliseconds, until it does … */
const PROOF = { first: 50, max: 5000 } as const;
/** … or for so long: then it never will. */
const PROOF_MS = 60_000;
/** Without anybody to ask, one that listens at once does so by then. */
const SUBSCRIBED_MS = 500;
/**
 * So many lines in such a time are a storm. A line about ours may be far behind in it, or among those that the kernel dropped,
 * of which `nft` 1.0.6 tells only when it prints its next event: somebody looks at the end of each such time.
 */
const STORM = { lines: 100, ms: 500 } as const;
/** A monitor that listened for so long was well. */
const WELL_MS = 60_000;
/** Pauses before a monitor that listened is started again, in milliseconds. */
const RESTART = { first: 100, max: 30_000 } as const;
/** Pauses before one is that never did: its start may have read the whole ruleset of the node. */
const RETRY = { first: 60_000, max: 3_600_000 } as const;

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

/** Runs a monitor, and starts it again when it ends. */
export class Watcher {
  readonly #monitor: Monitor;
  readonly #options: WatcherOptions;
  readonly #troubles: Recurring;
  #isListening = false;
  /** Lines that came in the time in which a storm is looked for; undefined while none runs. */
  #recent: number | undefined;
  #life = new AbortController();

  constructor(monitor: Monitor, options: WatcherOptions) {
    this.#monitor = monitor;
    this.#options = options;
    this.#troubles = new Recurring({ now: options.clock.now });
  }

  /** Whether events are heard now. Until then somebody has to look. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** Starts the monitor anew: it did not tell what it should have. */
  restart(): void {
    this.#life.abort("it told nothing of a loss");
  }

  /** Watches until the signal aborts, or the monitor turns out not to be installed. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const onAbort = () => this.#life.abort();
    signal.addEventListener("abort", onAbort);
    let failures = 0;
    while (!signal.aborted) {
      const { error, listenedMs } = await this.#live();
      if (signal.aborted) break;
      failures = listenedMs !== undefined && listenedMs > WELL_MS ? 1 : failures + 1;
      this.#tell(error, listenedMs !== undefined);
      if (error?.kind === "missing-program") break;
      this.#report("restarted");
      await clock.delay(backoff(failures, listenedMs === undefined ? RETRY : RESTART), signal);
    }
    signal.removeEventListener("abort", onAbort);
  }

  /** One life of the monitor. */
  async #live(): Promise<{ readonly error: CommandError | undefined; readonly listenedMs: number | undefined }> {
    const { runner, clock } = this.#options;
    const life = this.#life = new AbortController();
    const ended = new AbortController();
    const monitor = runner.start(this.#monitor.argv, { timeout: Infinity, signal: life.signal });
    const proven = this.#prove(monitor.pid, life, ended.signal);
    for await (const lines of linesOf(monitor)) this.#read(lines);
    ended.abort();
    const since = await proven;
    const { error } = await monitor.end();
    if (this.#isListening) this.#deafen();
    return { error, listenedMs: since === undefined ? undefined : clock.now() - since };
  }

  /** Asks for a look, after which others follow as long as nobody listens. */
  #deafen(): void {
    this.#isListening = false;
    this.#report("deaf");
    this.#options.onEvent();
  }

  /** However many lines there are, they are one reason to look. */
  #read(lines: readonly string[]): void {
    const kinds = new Set(lines.map((line) => this.#monitor.judge(line)));
    if (kinds.has("lost")) this.#report("lost-events");
    log.v(4)?.info("Read events", { program: this.#monitor.program, lines: lines.length, kinds: [...kinds].join(",") });
    if (kinds.has("ours") || kinds.has("lost") || kinds.has("unknown")) this.#options.onEvent();
    if (this.#recent !== undefined) this.#recent += lines.length;
    else void this.#weather(lines.length, this.#life.signal);
  }

  /** Looks for a storm from its first lines on. */
  async #weather(lines: number, life: AbortSignal): Promise<void> {
    this.#recent = lines;
    await this.#options.clock.delay(STORM.ms, life);
    const isStorm = this.#recent >= STORM.lines;
    this.#recent = undefined;
    if (isStorm && !life.aborted) this.#options.onEvent();
  }

  /** Waits until the monitor listens; gives since when, or undefined if it never did. */
  async #prove(pid: number | undefined, life: AbortController, ended: AbortSignal): Promise<number | undefined> {
    if (pid === undefined) return undefined;
    const { runner, clock, commandTimeout, onEvent } = this.#options;
    const deadline = clock.now() + PROOF_MS;
    for (let pause: number = PROOF.first; clock.now() < deadline; pause = Math.min(2 * pause, PROOF.max)) {
      await clock.delay(pause, ended);
      if (ended.aborted) return undefined;
      const answer = await isListening(runner, this.#monitor, pid, { timeout: commandTimeout, signal: ended });
      if (ended.aborted) return undefined;
      if (answer === undefined && pause < SUBSCRIBED_MS) continue;
      if (!(answer ?? this.#monitor.listensAtOnce)) continue;
      this.#isListening = true;
      this.#troubles.over("trouble");
      this.#report("listening");
      // What was lost while none listened shows in a look.
      onEvent();
      return clock.now();
    }
    life.abort(`it does not listen after ${PROOF_MS / 1000}s`);
    return undefined;
  }

  #tell(error: CommandError | undefined, hasListened: boolean): void {
    const ended = this.#troubles.report("trouble");
    if (ended === undefined) return;
    log.warning(
      hasListened
        ? "A watcher ended and is started again"
        : "Nothing tells of events: looks stand in for them, as often as they cost little",
      {
        command: this.#monitor.argv.join(" "),
        ended: repeatText(ended),
        ...error && { error },
      },
    );
  }

  #report(kind: WatcherEvent["kind"]): void {
    this.#options.onWatcher({ program: this.#monitor.program, kind });
  }
}

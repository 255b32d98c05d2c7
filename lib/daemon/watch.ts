/**
 * Kernel events, as a hint to look again.
 *
 * @module
 */
import { backoff, type Clock } from "../clock.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import type { CommandError } from "../node/command_error.ts";
import { isListening, type LineKind, type Monitor } from "../node/monitor.ts";
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
/** A monitor that listened for so long was well … */
const WELL_MS = 60_000;
/** … and one that ends at events that it lost, or cannot read, as xtables-monitor does, if it listened for so long. */
const WELL_HEARING_MS = 1000;
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

/** How a life of a monitor ended. */
interface End {
  readonly error: CommandError | undefined;
  /** How long it listened, in milliseconds; undefined if it never did. */
  readonly listenedMs: number | undefined;
  /** What it said last. */
  readonly last: LineKind;
}

/** One of several monitors that tell of the same. */
interface Candidate {
  readonly monitor: Monitor;
  /** Lives in a row that were short. */
  readonly failures: number;
  /** When it may be started, by the clock. */
  readonly at: number;
}

/** Runs a monitor, and when it ends it or another one that tells of the same. */
export class Watcher {
  #candidates: readonly Candidate[];
  readonly #options: WatcherOptions;
  readonly #troubles: Recurring;
  #isListening = false;
  /** Lines that came in the time in which a storm is looked for; undefined while none runs. */
  #recent: number | undefined;
  #life = new AbortController();

  /** @param monitors What tells of the same, the best first; each next one stands in while those before it have a pause. */
  constructor(monitors: readonly Monitor[], options: WatcherOptions) {
    this.#candidates = monitors.map((monitor) => ({ monitor, failures: 0, at: -Infinity }));
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

  /** Watches until the signal aborts, or none of the monitors turns out to be installed. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const onAbort = () => this.#life.abort();
    signal.addEventListener("abort", onAbort);
    for (let next = this.#candidates[0]; next !== undefined;) {
      if (next.at > clock.now()) await clock.delay(next.at - clock.now(), signal);
      if (signal.aborted) break;
      const end = await this.#live(next.monitor);
      if (signal.aborted) break;
      next = this.#after(next, end);
    }
    signal.removeEventListener("abort", onAbort);
  }

  /** Gives a monitor that ended its pause, unless it is not there at all, and chooses the next one. */
  #after(ended: Candidate, { error, listenedMs, last }: End): Candidate | undefined {
    const { monitor } = ended;
    const isMissing = error?.kind === "missing-program";
    // It heard something, and told of it.
    const hasHeard = last === "lost" || last === "unreadable";
    const isWell = listenedMs !== undefined && listenedMs > (hasHeard ? WELL_HEARING_MS : WELL_MS);
    const failures = isWell ? 1 : ended.failures + 1;
    const at = this.#options.clock.now() + backoff(failures, hasHeard || listenedMs !== undefined ? RESTART : RETRY);
    const same = { monitor, failures, at };
    this.#candidates = this.#candidates.flatMap((it) => it !== ended ? it : isMissing ? [] : same);
    // It is as good as any.
    if (last === "lost") return same;
    // Another one may be there in its place.
    if (!hasHeard && (!isMissing || this.#candidates.length === 0)) {
      this.#tell(monitor, error, listenedMs !== undefined);
    }
    if (!hasHeard && !isMissing) this.#report(monitor, "restarted");
    return this.#candidates.toSorted((a, b) => a.at - b.at)[0];
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
    if (this.#recent !== undefined) this.#recent += lines.length;
    else void this.#weather(lines.length, ended);
  }

  /** Looks for a storm from its first lines on. */
  async #weather(lines: number, ended: AbortSignal): Promise<void> {
    this.#recent = lines;
    await this.#options.clock.delay(STORM.ms, ended);
    const isStorm = this.#recent >= STORM.lines;
    this.#recent = undefined;
    if (isStorm && !ended.aborted) this.#options.onEvent();
  }

  /** Waits until the monitor listens; gives since when, or undefined if it never did. */
  async #prove(
    monitor: Monitor,
    pid: number | undefined,
    life: AbortController,
    ended: AbortSignal,
  ): Promise<number | undefined> {
    if (pid === undefined) return undefined;
    const { runner, clock, commandTimeout, onEvent } = this.#options;
    const deadline = clock.now() + PROOF_MS;
    for (let pause: number = PROOF.first; clock.now() < deadline; pause = Math.min(2 * pause, PROOF.max)) {
      await clock.delay(pause, ended);
      if (ended.aborted) return undefined;
      const answer = await isListening(runner, monitor, pid, { timeout: commandTimeout, signal: ended });
      if (ended.aborted) return undefined;
      if (answer === undefined && pause < SUBSCRIBED_MS) continue;
      if (!(answer ?? monitor.listensAtOnce)) continue;
      this.#isListening = true;
      this.#troubles.over("trouble");
      this.#report(monitor, "listening");
      // What was lost while none listened shows in a look.
      onEvent();
      return clock.now();
    }
    life.abort(`it does not listen after ${PROOF_MS / 1000}s`);
    return undefined;
  }

  #tell(monitor: Monitor, error: CommandError | undefined, hasListened: boolean): void {
    const ended = this.#troubles.report("trouble");
    if (ended === undefined) return;
    log.warning(
      hasListened
        ? "A watcher ended and is started again"
        : "Nothing tells of events: looks stand in for them, as often as they cost little",
      {
        command: monitor.argv.join(" "),
        ended: repeatText(ended),
        ...error && { error },
      },
    );
  }

  #report({ program }: Monitor, kind: WatcherEvent["kind"]): void {
    this.#options.onWatcher({ program, kind });
  }
}

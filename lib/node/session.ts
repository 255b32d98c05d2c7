import type { Clock } from "../clock.ts";
import { getLog } from "../log/mod.ts";
import type { Answer, CommandOptions, CommandResult, CommandRunner, Process } from "./process.ts";

const log = getLog("session");

/** A kept process that did not answer in this time is replaced: somebody may have stopped it. */
const PATIENCE_MS = 1000;

/** A process, and what is known of its past. */
interface Running {
  readonly process: Process;
  readonly stop: AbortController;
  /** Lines told in conversations that are over. */
  readonly lines: number;
}

/**
 * Processes that are kept for the next conversation with the same command line. That spares their start, and with
 * iptables-nft also their end, for which the kernel makes all others wait after rules were deleted.
 */
export class Sessions implements AsyncDisposable {
  readonly #runner: CommandRunner;
  readonly #clock: Clock;
  readonly #kept = new Map<string, Running>();
  readonly #ending = new Map<Running, Promise<unknown>>();

  constructor(runner: CommandRunner, clock: Clock) {
    this.#runner = runner;
    this.#clock = clock;
  }

  /** Takes up a conversation, with a process that was kept if there is one. */
  open(argv: readonly string[], options: CommandOptions): Session {
    const key = argv.join(" ");
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    return new Session(argv, options, {
      runner: this.#runner,
      clock: this.#clock,
      kept,
      keep: (running) => {
        const other = this.#kept.get(key);
        if (other !== undefined) this.#end(other);
        this.#kept.set(key, running);
      },
    });
  }

  /** Keeps none of the processes: one that goes on showing what was true when it started would never be found out. */
  renew(): void {
    for (const kept of this.#kept.values()) this.#end(kept);
    this.#kept.clear();
  }

  /** Ends all of them now, those that hang too. None has anything to do. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.renew();
    for (const { stop } of this.#ending.keys()) stop.abort();
    await Promise.all(this.#ending.values());
  }

  /** Not waited for: one that somebody stopped does not end by itself. */
  #end(running: Running): void {
    this.#ending.set(running, running.process.end().finally(() => this.#ending.delete(running)));
  }
}

interface Means {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  readonly kept: Running | undefined;
  readonly keep: (running: Running) => void;
}

/** One conversation with a tool. */
export class Session {
  readonly #argv: readonly string[];
  readonly #options: CommandOptions;
  readonly #means: Means;
  readonly #started = performance.now();
  #running: Running;
  /** It has not answered in this conversation yet. */
  #isUntried: boolean;
  #complained = false;
  /** Lines told in this conversation. */
  #lines = 0;
  readonly #abort = () => this.#running.stop.abort(this.#options.signal?.reason);

  constructor(argv: readonly string[], options: CommandOptions, means: Means) {
    this.#argv = argv;
    this.#options = options;
    this.#means = means;
    this.#isUntried = means.kept !== undefined;
    this.#running = means.kept ?? this.#start();
    options.signal?.addEventListener("abort", this.#abort);
    if (options.signal?.aborted) this.#abort();
  }

  /** How many lines the process had been told before this conversation. */
  get linesBefore(): number {
    return this.#running.lines;
  }

  /**
   * Whether it has printed anything on stderr. Then more may come there after the answer on stdout, and only its end is sure to
   * have all.
   */
  get hasComplained(): boolean {
    return this.#complained;
  }

  /** As {@linkcode Process.say}; a kept process that does not answer is replaced by a new one. */
  async say(text: string, answered: (answer: Answer) => boolean): Promise<Answer | undefined> {
    const answer = await this.#say(text, answered);
    this.#isUntried = false;
    this.#lines += text.split("\n").length - 1;
    this.#complained ||= answer?.stderr !== "";
    return answer;
  }

  async #say(text: string, answered: (answer: Answer) => boolean): Promise<Answer | undefined> {
    if (this.#isUntried) {
      const { process, stop } = this.#running;
      const patience = this.#means.clock.timeout(PATIENCE_MS);
      const giveUp = () => stop.abort("it did not answer");
      patience.addEventListener("abort", giveUp);
      const answer = await process.say(text, answered);
      patience.removeEventListener("abort", giveUp);
      if (answer !== undefined || this.#options.signal?.aborted) return answer;
      // It died, or was stopped, while nobody spoke to it: that is no fault of this conversation.
      await process.end();
      this.#running = this.#start();
    }
    return await this.#running.process.say(text, answered);
  }

  /**
   * Ends the conversation.
   *
   * @param keep All went well, so that the process may be kept.
   */
  async end(keep: boolean): Promise<CommandResult> {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    const isKept = keep && !this.#options.signal?.aborted;
    const result = isKept
      ? { argv: this.#argv, stdout: "", stderr: "", error: undefined }
      : await this.#running.process.end();
    if (isKept) this.#means.keep({ ...this.#running, lines: this.#running.lines + this.#lines });
    // Of the conversation, not of the life of the process.
    const duration = performance.now() - this.#started;
    log.v(4)?.info("Asked a command", { command: this.#argv.join(" "), duration: `${duration.toFixed(1)}ms` });
    return { ...result, duration };
  }

  #start(): Running {
    const stop = new AbortController();
    const { runner } = this.#means;
    const process = runner.start(this.#argv, { timeout: this.#options.timeout, signal: stop.signal });
    return { process, stop, lines: 0 };
  }
}

import type { CommandResult, CommandRunner, Conversation } from "./process.ts";
import { getLog } from "../log/mod.ts";

const log = getLog("session");

/** A kept process that did not answer in this time is replaced, in milliseconds: somebody may have stopped it. */
const PATIENCE_MS = 1000;

/**
 * Makes a runner keep processes for the next conversation with the same command line. That spares their start, and with
 * iptables-nft also their end, for which the kernel makes all others wait after rules were deleted.
 *
 * A conversation that asks for a {@linkcode CommandOptions.fresh} process ends the one that was kept, and leaves its own.
 *
 * @param waits Whether a command waits on stdin for more between two conversations. Others are started each time.
 * @returns The runner, and what ends the processes that it keeps.
 */
export function reuseProcesses(
  runner: CommandRunner,
  waits: (argv: readonly string[]) => boolean,
): CommandRunner & AsyncDisposable {
  const idle = new Map<string, Kept>();
  const ending = new Set<Promise<unknown>>();
  const end = ({ talk }: Kept) => {
    const ended: Promise<void> = talk.end().then(() => void ending.delete(ended));
    ending.add(ended);
  };
  return {
    start(argv, options) {
      if (!waits(argv)) return runner.start(argv, options);
      const key = argv.join(" ");
      const kept = idle.get(key);
      idle.delete(key);
      if (kept !== undefined && options.fresh) end(kept);
      const start = () => ({ talk: runner.start(argv, options), lines: 0 });
      const keep = (process: Kept) => {
        const other = idle.get(key);
        if (other !== undefined) end(other);
        idle.set(key, process);
      };
      return new Reused(argv, options.fresh ? undefined : kept, start, keep, options.signal);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...idle.values().map(({ talk }) => talk.end()), ...ending]);
      idle.clear();
    },
  };
}

interface Kept {
  readonly talk: Conversation;
  /** Lines told so far. */
  readonly lines: number;
}

class Reused implements Conversation {
  readonly #argv: readonly string[];
  readonly #start: () => Kept;
  readonly #keep: (process: Kept) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #started = performance.now();
  #isKept: boolean;
  #process: Kept;
  /** Lines told in this conversation. */
  #lines = 0;
  #stderr = false;

  constructor(
    argv: readonly string[],
    kept: Kept | undefined,
    start: () => Kept,
    keep: (process: Kept) => void,
    signal: AbortSignal | undefined,
  ) {
    this.#argv = argv;
    this.#signal = signal;
    this.#start = start;
    this.#keep = keep;
    this.#isKept = kept !== undefined;
    this.#process = kept ?? start();
  }

  get isReused(): boolean {
    return this.#isKept;
  }

  async say(text: string, answered: (stdout: string, stderr: string) => boolean): Promise<string | undefined> {
    const isFirst = this.#lines === 0;
    this.#lines += text.split("\n").length - 1;
    const noticed = (stdout: string, stderr: string) => {
      this.#stderr ||= stderr !== "";
      return answered(stdout, stderr);
    };
    if (!isFirst || !this.#isKept) return this.#process.talk.say(text, noticed);
    const patient = await this.#process.talk.say(text, noticed, PATIENCE_MS);
    if (patient !== undefined || this.#signal?.aborted) return patient;
    // It died, or was stopped, while nobody spoke to it: that is no fault of this conversation.
    await this.#process.talk.end();
    this.#isKept = false;
    this.#process = this.#start();
    return this.#process.talk.say(text, noticed);
  }

  async end(options?: { readonly reusable: boolean }): Promise<CommandResult> {
    const { talk, lines: linesBefore } = this.#process;
    if (options?.reusable !== true || this.#stderr) {
      const result = await talk.end();
      return { ...result, linesBefore, duration: performance.now() - this.#started };
    }
    this.#keep({ talk, lines: linesBefore + this.#lines });
    const duration = performance.now() - this.#started;
    log.v(4)?.info("Asked a command", { command: this.#argv.join(" "), duration: `${duration.toFixed(1)}ms` });
    return { argv: this.#argv, stdout: "", stderr: "", linesBefore, duration, error: undefined };
  }
}

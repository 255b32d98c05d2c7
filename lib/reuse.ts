import type { CommandOptions, CommandResult, CommandRunner, Conversation } from "./command.ts";

/** A process that did not answer in this time is replaced, in milliseconds: it may have been stopped by somebody. */
const PATIENCE_MS = 1000;

/**
 * Makes a runner keep processes for the next conversation with the same command line, which spares their start.
 *
 * @param waits Whether a command waits on stdin for more between two conversations. Others are started each time.
 * @returns The runner, and what ends the processes that it keeps.
 */
export function reuseProcesses(
  runner: CommandRunner,
  waits: (argv: readonly string[]) => boolean,
): CommandRunner & AsyncDisposable {
  const idle = new Map<string, Kept>();
  return {
    start(argv, options) {
      if (!waits(argv)) return runner.start(argv, options);
      const key = argv.join(" ");
      const kept = idle.get(key);
      idle.delete(key);
      return new Reused(runner, argv, options, kept, (process) => idle.set(key, process));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...idle.values()].map(({ talk }) => talk.end()));
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
  readonly #start: () => Conversation;
  readonly #keep: (process: Kept) => void;
  readonly #argv: readonly string[];
  readonly #started = performance.now();
  #kept: Kept | undefined;
  #talk: Conversation;
  #lines = 0;
  #stderr = false;

  constructor(
    runner: CommandRunner,
    argv: readonly string[],
    options: CommandOptions,
    kept: Kept | undefined,
    keep: (process: Kept) => void,
  ) {
    this.#argv = argv;
    this.#start = () => runner.start(argv, { ...options, timeout: Math.min(options.timeout, PATIENCE_MS) });
    this.#keep = keep;
    this.#kept = kept;
    this.#talk = kept?.talk ?? this.#start();
  }

  async say(text: string, answered: (stdout: string, stderr: string) => boolean): Promise<string | undefined> {
    const isFirst = this.#lines === 0;
    this.#lines += text.split("\n").length - 1;
    const noticed = (stdout: string, stderr: string) => {
      this.#stderr ||= stderr !== "";
      return answered(stdout, stderr);
    };
    const answer = await this.#talk.say(text, noticed);
    if (answer !== undefined || !isFirst || this.#kept === undefined) return answer;
    // It died, or was stopped, while nobody spoke to it: that is no fault of this conversation.
    await this.#talk.end();
    this.#kept = undefined;
    this.#talk = this.#start();
    return this.#talk.say(text, noticed);
  }

  async end(options?: { readonly reusable: boolean }): Promise<CommandResult> {
    const linesBefore = this.#kept?.lines ?? 0;
    if (options?.reusable !== true || this.#stderr) return { ...await this.#talk.end(), linesBefore };
    this.#keep({ talk: this.#talk, lines: linesBefore + this.#lines });
    const duration = performance.now() - this.#started;
    return { argv: this.#argv, stdout: "", stderr: "", linesBefore, duration, error: undefined };
  }
}

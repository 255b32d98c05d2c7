import type { CommandOptions, CommandResult, CommandRunner, Conversation } from "./command.ts";

/** A kept process that did not answer in this time is replaced, in milliseconds: somebody may have stopped it. */
const PATIENCE_MS = 1000;

/**
 * What becomes of a process after its conversation: kept for the next one, replaced by a fresh one that waits for it, which
 * costs no less but nobody waits for, or nothing.
 */
export type Reuse = "keep" | "spare" | "none";

/**
 * Makes a runner have a process ready for the next conversation with the same command line, which spares its start.
 *
 * @param reuse What to do with the process of a command. "keep" is for those that look anew at each question.
 * @returns The runner, and what ends the processes that wait.
 */
export function reuseProcesses(
  runner: CommandRunner,
  reuse: (argv: readonly string[]) => Reuse,
): CommandRunner & AsyncDisposable {
  const idle = new Map<string, Kept>();
  return {
    start(argv, options) {
      const mode = reuse(argv);
      if (mode === "none") return runner.start(argv, options);
      const key = argv.join(" ");
      const kept = idle.get(key);
      idle.delete(key);
      return new Reused(runner, argv, options, mode, kept, (process) => idle.set(key, process));
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
  readonly #mode: Reuse;
  readonly #started = performance.now();
  #kept: Kept | undefined;
  #talk: Conversation;
  #lines = 0;
  #stderr = false;

  constructor(
    runner: CommandRunner,
    argv: readonly string[],
    options: CommandOptions,
    mode: Reuse,
    kept: Kept | undefined,
    keep: (process: Kept) => void,
  ) {
    this.#argv = argv;
    this.#mode = mode;
    // Not for spares: iptables-restore may have to wait for the lock.
    const timeout = mode === "keep" ? Math.min(options.timeout, PATIENCE_MS) : options.timeout;
    this.#start = () => runner.start(argv, { ...options, timeout });
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
    const isKept = this.#mode === "keep" && options?.reusable === true && !this.#stderr;
    const result = isKept ? { argv: this.#argv, stdout: "", stderr: "", error: undefined } : await this.#talk.end();
    if (isKept) this.#keep({ talk: this.#talk, lines: linesBefore + this.#lines });
    else if (this.#mode === "spare" && result.error === undefined) this.#keep({ talk: this.#start(), lines: 0 });
    return { ...result, linesBefore, duration: performance.now() - this.#started };
  }
}

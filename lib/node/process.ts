/**
 * The seam between this program and the programs it drives: `ip`, `iptables-restore` and their kin.
 * Nothing else in the project starts a process.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { CommandError, type CommandFailure } from "./command_error.ts";
import { getLog } from "../log/mod.ts";

const log = getLog("process");

/** From SIGTERM to SIGKILL, and from there until a process in an uninterruptible system call is left to init. */
const GRACE_MS = 500;
/** So many chunks in so many milliseconds are a flood, in which each next one is waited for. */
const FLOOD_CHUNKS = 20;
const FLOOD_MS = 100;
const FLOOD_PAUSE_MS = 10;
/** More than this is no answer of any tool that is asked here: 10,000 rules are 1 MiB. */
const MAX_OUTPUT_CHARS = 64 << 20;

/** Options for {@linkcode CommandRunner.start}. */
export interface CommandOptions {
  /** Longest wait for one answer, and for the end, in milliseconds; then the process is killed. Infinity: no limit. */
  readonly timeout: number;
  /** Kills the process when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Whether to read at leisure while much is printed: for monitors, of which a flood would wake this program for each line. */
  readonly throttled?: boolean;
  /** Whether it has to be a process that has not answered before. @default {false} */
  readonly fresh?: boolean;
}

/** What a command printed and how it ended. */
export interface CommandResult {
  readonly argv: readonly string[];
  /** What no answer took. */
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of stdin that this process had been told before this conversation; more than 0 if it is reused. */
  readonly linesBefore: number;
  /** Milliseconds from the first question, or the start, to the end. */
  readonly duration: number;
  /** Undefined when it ended by itself with exit code 0. */
  readonly error: CommandError | undefined;
}

/** A running program that answers on stdout what it is told on stdin. */
export interface Conversation {
  /** The process had other conversations before. @default {false} */
  readonly isReused?: boolean;
  /**
   * Writes `text` and waits for the answer.
   *
   * @param answered Says of the stdout and stderr since the last answer whether this one is whole.
   * @param timeout Longest wait, in milliseconds, if shorter than {@linkcode CommandOptions.timeout}.
   * @returns The stdout since the last answer; undefined when the process ended, or was killed, before it was whole.
   */
  say(
    text: string,
    answered: (stdout: string, stderr: string) => boolean,
    timeout?: number,
  ): Promise<string | undefined>;
  /**
   * Closes stdin, waits for the end and reaps the process. Never rejects; a second call gives the same result.
   *
   * @param options `reusable`: all went well, and nothing more is expected on stderr.
   */
  end(options?: { readonly reusable: boolean }): Promise<CommandResult>;
}

/** Starts programs. The one method that tests replace. */
export interface CommandRunner {
  /** Starts `argv[0]`, looked up in PATH, with the C locale. What goes wrong is told by {@linkcode Conversation.end}. */
  start(argv: readonly string[], options: CommandOptions): Conversation;
}

/** Runs a program that is told nothing, to its end. */
export function runCommand(
  runner: CommandRunner,
  argv: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  return runner.start(argv, options).end();
}

/** The runner that really starts processes. */
export const commandRunner: CommandRunner = {
  start(argv, options) {
    return new Process(argv, options);
  },
};

class Process implements Conversation {
  readonly #argv: readonly string[];
  readonly #options: CommandOptions;
  #started = performance.now();
  #told = false;
  readonly #child: Deno.ChildProcess | undefined;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | undefined;
  readonly #over: Promise<void>;
  #result: Promise<CommandResult> | undefined;
  #stdout = "";
  #stderr = "";
  #stderrSeen = 0;
  #status: Deno.CommandStatus | undefined;
  #killed: CommandFailure | undefined;
  #killTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #changed = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<void>();

  constructor(argv: readonly string[], options: CommandOptions) {
    this.#argv = argv;
    this.#options = options;
    const [program = "", ...args] = argv;
    try {
      // LC_ALL: the texts of errors are read.
      this.#child = new Deno.Command(program, {
        args,
        env: { LC_ALL: "C" },
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (error) {
      // NotCapable: --allow-run drops what was not installed when this program started.
      const missing = error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable;
      this.#killed = { kind: missing ? "missing-program" : "other", said: String(error) };
      this.#closed = true;
      this.#over = Promise.resolve();
      return;
    }
    this.#stdin = this.#child.stdin.getWriter();
    this.#stdin.closed.catch(() => {}); // a broken pipe: the exit status tells more
    this.#over = this.#follow(this.#child);
    options.signal?.addEventListener("abort", this.#abort);
    if (options.signal?.aborted) this.#abort();
  }

  async say(
    text: string,
    answered: (stdout: string, stderr: string) => boolean,
    timeout = Infinity,
  ): Promise<string | undefined> {
    // A process may have waited for its first question.
    if (!this.#told) this.#started = performance.now();
    this.#told = true;
    if (text !== "") {
      log.v(6)?.info("Telling a command", { command: this.#argv.join(" "), stdin: text });
      // Not awaited: a program that prints before it has read all would block both sides.
      this.#stdin?.write(new TextEncoder().encode(text)).catch(() => {});
    }
    const lift = this.#limit(timeout);
    while (!answered(this.#stdout, this.#stderr.slice(this.#stderrSeen))) {
      if (this.#closed) break;
      await this.#changed.promise;
    }
    lift();
    const stdout = this.#stdout;
    if (this.#killed !== undefined || !answered(stdout, this.#stderr.slice(this.#stderrSeen))) return undefined;
    this.#stdout = "";
    this.#stderrSeen = this.#stderr.length;
    return stdout;
  }

  end(): Promise<CommandResult> {
    return this.#result ??= this.#end();
  }

  async #end(): Promise<CommandResult> {
    const lift = this.#limit();
    this.#stdin?.close().catch(() => {});
    await this.#over;
    lift();
    if (this.#killTimer !== undefined) clearTimeout(this.#killTimer);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    const result = {
      argv: this.#argv,
      stdout: this.#stdout,
      stderr: this.#stderr,
      linesBefore: 0,
      duration: performance.now() - this.#started,
      error: CommandError.of(this.#argv, this.#status, this.#stderr, this.#killed),
    };
    log.v(4)?.info("Ran a command", {
      command: this.#argv.join(" "),
      code: this.#status?.code,
      duration: `${result.duration.toFixed(1)}ms`,
    });
    log.v(6)?.info("A command said", { stdout: result.stdout, stderr: result.stderr });
    return result;
  }

  /** Collects the output until the process is reaped. */
  async #follow(child: Deno.ChildProcess): Promise<void> {
    const readers = [child.stdout.getReader(), child.stderr.getReader()] as const;
    const drained = Promise.all([
      this.#drain(readers[0], (text) => this.#stdout += text),
      this.#drain(readers[1], (text) => this.#stderr += text),
    ]);
    this.#status = await Promise.race([child.status, this.#gone.promise.then(() => undefined)]);
    if (this.#status === undefined) child.unref();
    // A grandchild may hold the pipes open for ever.
    const lift = after(GRACE_MS, () => readers.forEach((reader) => reader.cancel().catch(() => {})));
    await drained;
    lift();
    this.#closed = true;
    this.#changed.resolve();
  }

  async #drain(reader: ReadableStreamDefaultReader<Uint8Array>, append: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    let window = { since: 0, chunks: 0 };
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      append(decoder.decode(chunk.value, { stream: true }));
      this.#changed.resolve();
      this.#changed = Promise.withResolvers<void>();
      if (this.#stdout.length + this.#stderr.length > MAX_OUTPUT_CHARS) {
        this.#kill({ kind: "other", said: "it printed too much" });
        return reader.cancel();
      }
      if (!this.#options.throttled) continue;
      const now = performance.now();
      window = now - window.since < FLOOD_MS ? { ...window, chunks: window.chunks + 1 } : { since: now, chunks: 1 };
      if (window.chunks > FLOOD_CHUNKS) await delay(FLOOD_PAUSE_MS);
    }
  }

  /** Limits one wait; gives what lifts the limit. */
  #limit(shorter = Infinity): () => void {
    const timeout = Math.min(this.#options.timeout, shorter);
    if (timeout === Infinity) return () => {};
    return after(timeout, () => this.#kill({ kind: "timed-out", said: `no answer in ${timeout}ms` }));
  }

  readonly #abort = () => {
    const reason = this.#options.signal?.reason;
    this.#kill({ kind: "aborted", said: typeof reason === "string" ? reason : "stopped" });
  };

  #kill(why: CommandFailure): void {
    if (this.#killed !== undefined || this.#closed) return;
    this.#killed = why;
    this.#signal("SIGTERM");
    this.#killTimer = setTimeout(() => {
      this.#signal("SIGKILL");
      this.#killTimer = setTimeout(() => this.#gone.resolve(), GRACE_MS);
    }, GRACE_MS);
  }

  #signal(signal: Deno.Signal): void {
    try {
      this.#child?.kill(signal);
    } catch (error) {
      // "Child process has already terminated": it ended in this very moment.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Calls `then` after `ms` milliseconds unless the result is called first. The first setTimeout() costs Deno 2.9 6 ms. */
function after(ms: number, then: () => void): () => void {
  const signal = AbortSignal.timeout(ms);
  signal.addEventListener("abort", then);
  return () => signal.removeEventListener("abort", then);
}

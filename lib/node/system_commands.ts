/**
 * The programs of this machine behind the seam of process.ts. Nothing else in the project starts a process.
 *
 * @module
 */
import { getLog } from "../log/mod.ts";
import { CommandError, type CommandFailure } from "./command_error.ts";
import { Output } from "./output.ts";
import type { Answer, CommandOptions, CommandResult, CommandRunner, Process } from "./process.ts";

const log = getLog("system_commands");

/** From SIGTERM to SIGKILL, and from there until a process in an uninterruptible system call is left to init. */
const GRACE_MS = 500;
/** Of what a program said on stderr, so much is remembered for the error. */
const MAX_STDERR_CHARS = 1 << 16;
/** AbortSignal.timeout() takes a longer time for 1 ms. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const TOO_MUCH: CommandFailure = { kind: "other", said: "it printed too much" };

/** Starts the programs of this machine. */
export class SystemCommands implements CommandRunner {
  readonly #env: Readonly<Record<string, string>>;
  /** Programs that were killed while a process that they had started still runs. */
  readonly #left = new Set<string>();

  /** @param env The whole environment of the programs. */
  constructor(env: Readonly<Record<string, string>>) {
    // The texts of errors are read; nft --interactive would write what it was told to a file in HOME.
    this.#env = { ...env, LC_ALL: "C", HOME: "/dev/null" };
  }

  start(argv: readonly string[], options: CommandOptions): Process {
    const [program = ""] = argv;
    // A process group cannot be killed without the right to run everything: one that hangs must not become many.
    if (this.#left.has(program)) {
      return new FailedProcess(argv, { kind: "busy", said: "a process that an earlier one started does not end" });
    }
    try {
      const child = new Child(argv, this.#env, (gone) => {
        this.#left.add(program);
        gone.then(() => this.#left.delete(program));
      });
      return new SystemProcess(argv, child, options);
    } catch (error) {
      // NotCapable: --allow-run drops what was not installed when this program started.
      const missing = error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable;
      return new FailedProcess(argv, { kind: missing ? "missing-program" : "other", said: String(error) });
    }
  }
}

/** A program that could not be started. */
class FailedProcess implements Process {
  readonly pid = undefined;
  readonly #result: CommandResult;

  constructor(argv: readonly string[], failure: CommandFailure) {
    this.#result = { argv, stdout: "", stderr: "", duration: 0, error: new CommandError(argv, failure) };
  }

  say(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  end(): Promise<CommandResult> {
    return Promise.resolve(this.#result);
  }
}

/** A child and its three pipes, which comes to an end in any case. stdout is read when somebody waits for it, stderr always. */
class Child {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Reaped and all read, or given up. */
  readonly over: Promise<Deno.CommandStatus | undefined>;
  /** Why it was killed, if it was. */
  killed: CommandFailure | undefined;
  isOver = false;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #abandoned = Promise.withResolvers<undefined>();

  /** @param onLeft Told when it was killed, and something that it had started goes on. */
  constructor(
    [program = "", ...args]: readonly string[],
    env: Readonly<Record<string, string>>,
    onLeft: (gone: Promise<unknown>) => void,
  ) {
    // Nothing is inherited: Deno refuses to hand on any LD_ variable, and a directory may be gone or closed to us.
    const pipes = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    this.#child = new Deno.Command(program, { args, cwd: "/", clearEnv: true, env: { ...env }, ...pipes }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#stdin.closed.catch(() => {}); // a broken pipe: the exit status tells more
    this.stdout = new Output(this.#child.stdout, () => this.kill(TOO_MUCH));
    this.stderr = new Output(this.#child.stderr, () => this.kill(TOO_MUCH));
    this.stderr.drain();
    this.over = this.#follow(onLeft);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Not awaited: a program that prints before it has read all would block both sides. */
  write(text: string): void {
    this.#stdin.write(new TextEncoder().encode(text)).catch(() => {});
  }

  closeStdin(): void {
    this.#stdin.close().catch(() => {});
  }

  /** Sends SIGTERM, then SIGKILL, then leaves it to itself. */
  kill(why: CommandFailure): void {
    if (this.killed !== undefined || this.isOver) return;
    this.killed = why;
    this.#signal("SIGTERM");
    const patience = [
      after(GRACE_MS, () => this.#signal("SIGKILL")),
      after(2 * GRACE_MS, () => this.#abandoned.resolve(undefined)),
    ];
    this.over.then(() => patience.forEach((lift) => lift()));
  }

  /** Waits for the end of the process, and then for those of its pipes as long as it makes sense. */
  async #follow(onLeft: (gone: Promise<unknown>) => void): Promise<Deno.CommandStatus | undefined> {
    // Whoever ignores SIGCHLD has nothing to wait for.
    const status = await Promise.race([this.#child.status.catch(() => undefined), this.#abandoned.promise]);
    if (status === undefined) attempt(() => this.#child.unref());
    const pipes = [this.stdout, this.stderr];
    const closed = Promise.all(pipes.map((pipe) => pipe.drain()));
    const patience = Promise.withResolvers<void>();
    // What it started may hold them open for ever.
    const lift = after(GRACE_MS, () => {
      if (this.killed === undefined) pipes.forEach((pipe) => pipe.cancel());
      else onLeft(closed);
      patience.resolve();
    });
    await Promise.race([closed, patience.promise]);
    lift();
    this.isOver = true;
    return status;
  }

  #signal(signal: Deno.Signal): void {
    attempt(() => this.#child.kill(signal));
  }
}

/** A child that is asked questions. */
class SystemProcess implements Process {
  readonly #argv: readonly string[];
  readonly #options: CommandOptions;
  readonly #child: Child;
  /** Characters of stderr that answers took. */
  #stderrSeen = 0;
  /** When the first question was asked; a kept process may have waited for it. */
  #started = performance.now();
  #asked = false;
  #result: Promise<CommandResult> | undefined;

  constructor(argv: readonly string[], child: Child, options: CommandOptions) {
    this.#argv = argv;
    this.#options = options;
    this.#child = child;
    options.signal?.addEventListener("abort", this.#abort);
    if (options.signal?.aborted) this.#abort();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async say(text: string, answered: (answer: Answer) => boolean): Promise<Answer | undefined> {
    const { stdout, stderr } = this.#child;
    if (!this.#asked) this.#started = performance.now();
    this.#asked = true;
    if (text !== "") {
      log.v(6)?.info("Telling a command", { command: this.#argv.join(" "), stdin: text });
      this.#child.write(text);
    }
    const lift = this.#limit();
    while (!answered(this.#unseen()) && !this.#child.isOver) {
      const open = [stdout, stderr].filter((output) => !output.isOver);
      await Promise.race([...open.map((output) => output.more()), this.#child.over]);
    }
    lift();
    const answer = this.#unseen();
    if (this.#child.killed !== undefined || !answered(answer)) return undefined;
    stdout.text = "";
    stderr.text = stderr.text.slice(-MAX_STDERR_CHARS);
    this.#stderrSeen = stderr.text.length;
    return answer;
  }

  end(): Promise<CommandResult> {
    return this.#result ??= this.#end();
  }

  async #end(): Promise<CommandResult> {
    const lift = this.#limit();
    this.#child.closeStdin();
    this.#child.stdout.drain();
    const status = await this.#child.over;
    lift();
    this.#options.signal?.removeEventListener("abort", this.#abort);
    const { stdout: { text: stdout }, stderr: { text: stderr }, killed } = this.#child;
    const duration = performance.now() - this.#started;
    const command = this.#argv.join(" ");
    log.v(4)?.info("Ran a command", { command, code: status?.code, duration: `${duration.toFixed(1)}ms` });
    log.v(6)?.info("A command said", { stdout, stderr });
    const error = CommandError.of(this.#argv, status, stderr, killed);
    return { argv: this.#argv, stdout, stderr, duration, error };
  }

  #unseen(): Answer {
    const { stdout, stderr } = this.#child;
    return { stdout: stdout.text, stderr: stderr.text.slice(this.#stderrSeen) };
  }

  /** Limits one wait; gives what lifts the limit. */
  #limit(): () => void {
    const { timeout } = this.#options;
    if (timeout === Infinity) return () => {};
    return after(timeout, () => this.#child.kill({ kind: "timed-out", said: `no answer in ${timeout}ms` }));
  }

  readonly #abort = () => {
    const reason = this.#options.signal?.reason;
    this.#child.kill({ kind: "aborted", said: typeof reason === "string" ? reason : "stopped" });
  };
}

/** Does something to a child unless it has ended in this very moment. */
function attempt(act: () => void): void {
  try {
    act();
  } catch (error) {
    const { BadResource, NotFound } = Deno.errors;
    if (!(error instanceof TypeError || error instanceof NotFound || error instanceof BadResource)) throw error;
  }
}

/** Calls `then` after `ms` milliseconds unless the result is called first. The first setTimeout() costs Deno 2.9 6 ms. */
function after(ms: number, then: () => void): () => void {
  const signal = AbortSignal.timeout(Math.min(ms, MAX_TIMEOUT_MS));
  signal.addEventListener("abort", then);
  return () => signal.removeEventListener("abort", then);
}

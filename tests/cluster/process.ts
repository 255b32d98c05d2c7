/**
 * Test equipment: child processes that end with this one, whatever ends it.
 *
 * @module
 */

/** What a program that has ended left. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What {@linkcode run} takes. */
export interface RunOptions {
  /** Fed to the program, which otherwise has `/dev/null`. */
  readonly stdin?: string;
}

/** What {@linkcode spawn} takes: the options of `Deno.Command` without its arguments. */
export type SpawnOptions = Omit<Deno.CommandOptions, "args">;

/** How long a process may take from SIGTERM to its end. */
const GRACE_MS = 10_000;

/** Starts a program. */
export function spawn(argv: readonly string[], options: SpawnOptions = {}): Deno.ChildProcess {
  // The kernel ends it when this process ends, be it by SIGKILL. SIGKILL would leave the children of what is ended so.
  return new Deno.Command("setpriv", {
    stdin: "null",
    ...options,
    args: ["--pdeathsig=TERM", "--", ...argv],
    env: { LC_ALL: "C", ...options.env },
  }).spawn();
}

/** Runs a program to its end. */
export async function run(argv: readonly string[], { stdin }: RunOptions = {}): Promise<Output> {
  const child = spawn(argv, { stdin: stdin === undefined ? "null" : "piped", stdout: "piped", stderr: "piped" });
  const fed = stdin === undefined ? undefined : new Blob([stdin]).stream().pipeTo(child.stdin).catch((error) => {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // its exit code tells more
  });
  const [{ code, stdout, stderr }] = await Promise.all([child.output(), fed]);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A program that runs until it is stopped, with what it printed. */
export class Service implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #printed: Promise<unknown>;
  #text = "";
  #over = false;

  /** @param child With both outputs piped. */
  constructor(name: string, child: Deno.ChildProcess) {
    this.#name = name;
    this.#child = child;
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) this.#text += text;
    };
    this.#printed = Promise.all([read(child.stdout), read(child.stderr)]);
    child.status.then(() => this.#over = true);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** What it has printed so far. */
  get text(): string {
    return this.#text;
  }

  /** @throws {Error} with all it printed, if it has ended */
  assertRuns(): void {
    if (this.#over) throw new Error(`${this.#name} has ended:\n${this.#text}`);
  }

  /** Asks it to end. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /**
   * Waits for its end.
   *
   * @throws {Error} if it does not come
   */
  async end(): Promise<Deno.CommandStatus> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#child.kill("SIGKILL");
    }, GRACE_MS);
    const status = await this.#child.status;
    clearTimeout(timer);
    await this.#printed;
    if (late) throw new Error(`${this.#name} does not end:\n${this.#text}`);
    return status;
  }

  /** Sends a signal and waits for the end. */
  stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    if (!this.#over) this.#child.kill(signal);
    return this.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

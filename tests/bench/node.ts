/**
 * A node to measure on: a network of its own, in which the real tools work. Unlike the tests' namespaces it has no user
 * namespace of its own if this process is root: only the root of the machine gets the socket buffers that 100,000 rules need,
 * and a program on a real node has them too.
 *
 * @module
 */

const ENVIRONMENT = { LC_ALL: "C", TZ: "UTC", PATH: `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin` };
const SETUP = "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat";
/** Answers each line, a command, with the times of its start and end, and its exit code. */
const STOPWATCH = `while IFS= read -r line; do
    from=$EPOCHREALTIME; eval "$line" < /dev/null > "$0/out" 2> "$0/err"; code=$?; to=$EPOCHREALTIME
    echo "$from $to $code"
  done`;

/** How a command went. */
export interface Timed {
  /** Milliseconds, and milliseconds since 1970. */
  readonly ms: number;
  readonly from: number;
  readonly to: number;
  readonly code: number;
  readonly stderr: string;
}

/** A network namespace with a /run of its own; it and the processes in it that are not waited for end with this object. */
export class Node implements AsyncDisposable {
  readonly #holder: Deno.ChildProcess;
  readonly #directory: string;
  #stopwatch: { readonly child: Deno.ChildProcess; readonly lines: ReadableStreamDefaultReader<string> } | undefined;

  private constructor(holder: Deno.ChildProcess, directory: string) {
    this.#holder = holder;
    this.#directory = directory;
  }

  /** Makes one in which only `lo` is, up. */
  static async create(): Promise<Node> {
    const args = ["--net", "--mount", "sh", "-c", SETUP];
    const holder = new Deno.Command("unshare", { args, env: ENVIRONMENT, stdin: "piped", stdout: "piped" }).spawn();
    const reader = holder.stdout.getReader();
    const { done } = await reader.read();
    await reader.cancel();
    if (done) throw new Error("Cannot make a network namespace");
    return new Node(holder, await Deno.makeTempDir({ prefix: "bench-" }));
  }

  /** A process in the namespace. */
  get pid(): number {
    return this.#holder.pid;
  }

  /** Starts a program inside; its process id is that of the child. */
  spawn(argv: readonly string[], options: Omit<Deno.CommandOptions, "args"> = {}): Deno.ChildProcess {
    const args = ["--net", "--mount", `--target=${this.pid}`, "--", "env", `--chdir=${Deno.cwd()}`, ...argv];
    return new Deno.Command("nsenter", { ...options, args, env: { ...ENVIRONMENT, ...options.env } }).spawn();
  }

  /** Runs a program inside that has to succeed, and gives its standard output. */
  async run(argv: readonly string[], stdin = ""): Promise<string> {
    const child = this.spawn(argv, { stdin: "piped", stdout: "piped", stderr: "piped" });
    const fed = new Blob([stdin]).stream().pipeTo(child.stdin).catch(() => {}); // its exit code tells more
    const [{ success, code, stdout, stderr }] = await Promise.all([child.output(), fed]);
    const text = new TextDecoder().decode(stderr).trimEnd();
    if (!success) throw new Error(`Cannot run "${argv.join(" ")}": exit code ${code}: ${text}`);
    return new TextDecoder().decode(stdout);
  }

  /** Runs a program inside, and times it from before its fork until it has been waited for. */
  async time(argv: readonly string[]): Promise<Timed> {
    this.#stopwatch ??= this.#startStopwatch();
    const { child, lines } = this.#stopwatch;
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${argv.map(quote).join(" ")}\n`));
    writer.releaseLock();
    const { value = "" } = await lines.read();
    const [from = NaN, to = NaN, code = NaN] = value.split(" ").map(Number);
    const stderr = await Deno.readTextFile(`${this.#directory}/err`);
    return { ms: 1000 * (to - from), from: 1000 * from, to: 1000 * to, code, stderr };
  }

  #startStopwatch() {
    const child = this.spawn(["bash", "-c", STOPWATCH, this.#directory], { stdin: "piped", stdout: "piped" });
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(lineStream()).getReader();
    return { child, lines };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stopwatch?.lines.cancel();
    await this.#stopwatch?.child.stdin.close();
    await this.#stopwatch?.child.status;
    await this.#holder.stdin.close();
    await this.#holder.status;
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** Cuts a text into its lines. */
export function lineStream(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const line of lines) controller.enqueue(line);
    },
  });
}

function quote(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

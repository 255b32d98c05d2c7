import { delay } from "@std/async/delay";
import { descendants, memory } from "../chaos/processes.ts";
import { lineStream, type Node } from "./node.ts";

/** The address that is kept. */
export const ADDRESS = "10.96.0.2";
/** The flags of a usual node. */
export const FLAGS: readonly string[] = [`--ip-address=${ADDRESS}`, "--setup-iptables"];
/** The loops of a daemon, each of which makes a pass when one is asked for. */
const LOOPS = 2;
/** No pass may take longer. */
const PATIENCE_MS = 60_000;
/** Length of a clock tick in /proc/PID/stat (USER_HZ). */
const TICK_MS = 10;

/** The program as a daemon on a node. */
export class Daemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #problems: string[] = [];
  #durations: number[] = [];
  #asked = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#read = this.#follow();
  }

  /** Starts it, without waiting for anything. */
  static start(node: Node, program: readonly string[], flags: readonly string[] = FLAGS): Daemon {
    return new Daemon(node.spawn([...program, ...flags, "-v=2"], { stdin: "null", stdout: "null", stderr: "piped" }));
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Passes that were asked for by {@linkcode Daemon.pass} and made, those of addresses and of rules counted each. */
  get passes(): number {
    return this.#durations.length;
  }

  /** Asks for a pass over everything, waits for its end, and gives the milliseconds that the program says it took. */
  async pass(): Promise<number> {
    this.#asked += LOOPS;
    this.#child.kill("SIGHUP");
    for (const deadline = performance.now() + PATIENCE_MS; this.#durations.length < this.#asked; await delay(1)) {
      if (performance.now() > deadline) throw new Error(`The daemon makes no pass: ${this.#problems.join("\n")}`);
    }
    return Math.max(...this.#durations.slice(-LOOPS));
  }

  /** Milliseconds of CPU that it has used, its children included. */
  async cpu(): Promise<number> {
    const pids = [this.pid, ...(await descendants(this.pid)).map(({ pid }) => pid)];
    const uses = await Promise.all(pids.map(async (pid) => {
      const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
      // utime, stime, and those of its children that it has waited for
      return stat.replace(/^.*\) /s, "").split(" ").slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
    }));
    return TICK_MS * uses.reduce((sum, ticks) => sum + ticks, 0);
  }

  /** MiB of RAM that it has, and its children; what they share is counted for each. */
  async memory(): Promise<{ readonly own: number; readonly together: number }> {
    const { rss } = await memory(this.pid);
    const children = await descendants(this.pid);
    const theirs = await Promise.all(children.map(({ pid }) => memory(pid).catch(() => ({ rss: 0 })))); // it has ended
    return { own: rss, together: theirs.reduce((sum, { rss }) => sum + rss, rss) };
  }

  /** Percent of a core that it uses, its children included, while something goes on. */
  async load(meanwhile: () => Promise<unknown>): Promise<number> {
    const [cpu, started] = [await this.cpu(), performance.now()];
    await meanwhile();
    return 100 * (await this.cpu() - cpu) / (performance.now() - started);
  }

  /** The most memory of all looks while something goes on, one every 100 ms, children included. */
  async peak(meanwhile: Promise<unknown>): Promise<number> {
    let over = false;
    const watched = meanwhile.finally(() => over = true);
    let peak = 0;
    while (!over) {
      peak = Math.max(peak, (await this.memory()).together);
      await delay(100);
    }
    await watched;
    return peak;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
    await this.#read;
  }

  async #follow(): Promise<void> {
    const lines = this.#child.stderr.pipeThrough(new TextDecoderStream()).pipeThrough(lineStream());
    for await (const line of lines) {
      const duration = line.match(/Made a pass cause="signal" .*duration="([\d.]+)ms"/)?.[1];
      if (duration !== undefined) this.#durations.push(Number(duration));
      if (/^[WEF]/.test(line)) this.#problems = [...this.#problems, line].slice(-10);
    }
  }
}

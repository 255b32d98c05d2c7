/**
 * Test equipment of the demonstration: how long something is away, by what the kernel itself reports.
 *
 * @module
 */
import type { Namespace } from "../support/namespace.ts";
import { kill } from "./peers.ts";

/** What the kernel reports, line by line. */
export class Monitor implements AsyncDisposable {
  readonly #children: readonly Deno.ChildProcess[];
  readonly #reading: Promise<unknown>;
  readonly #seen: { readonly line: string; readonly at: number }[] = [];

  /** Listens to all changes of addresses and rules on a node. */
  constructor(node: Namespace) {
    const start = (argv: readonly string[]) => node.spawn(argv, { stdin: "null", stdout: "piped", stderr: "null" });
    this.#children = [start(["ip", "-oneline", "monitor", "address"]), start(["nft", "monitor", "rules"])];
    this.#reading = Promise.all(this.#children.map(async ({ stdout }) => {
      for await (const text of stdout.pipeThrough(new TextDecoderStream())) {
        const at = performance.now();
        this.#seen.push(...text.split("\n").map((line) => ({ line, at })));
      }
    }));
  }

  /** Forgets what it has seen. */
  clear(): void {
    this.#seen.length = 0;
  }

  /** Milliseconds from the first line that matches `lost` to the last one that matches `back`; undefined before there are such. */
  away(lost: RegExp, back: RegExp): number | undefined {
    const from = this.#seen.find(({ line }) => lost.test(line));
    const to = this.#seen.findLast(({ line }) => back.test(line));
    return from === undefined || to === undefined || to.at < from.at ? undefined : to.at - from.at;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(kill));
    await this.#reading;
  }
}

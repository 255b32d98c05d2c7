/**
 * Test equipment: the machines of the cluster, which are named network namespaces. They are made from within a user, network
 * and mount namespace of the test's own (see main.ts), so that nothing of them is seen outside, or outlives it.
 *
 * @module
 */
import { type Output, run, type RunOptions, spawn, type SpawnOptions } from "./process.ts";

/** A machine: its network stack. */
export class Host {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Starts a program on it. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): Deno.ChildProcess {
    return spawn(this.#argv(argv), options);
  }

  /** Runs a program on it to its end. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<Output> {
    return run(this.#argv(argv), options);
  }

  /**
   * Runs a program on it that has to succeed, and gives its standard output.
   *
   * @throws {Error} with the program's whole standard error when it fails
   */
  async ok(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(argv, options);
    if (code !== 0) {
      throw new Error(`Cannot run "${argv.join(" ")}" on ${this.name}: exit code ${code}: ${stderr.trimEnd()}`);
    }
    return stdout;
  }

  #argv(argv: readonly string[]): string[] {
    return ["nsenter", `--net=/run/netns/${this.name}`, "--", ...argv];
  }
}

/** Makes machines that have an interface `lo` and nothing else. */
export async function makeHosts(names: readonly string[]): Promise<readonly Host[]> {
  await batch(names.map((name) => `netns add ${name}`));
  return names.map((name) => new Host(name));
}

/** Makes `ip` do some lines, in the test's own network stack or that of a machine. */
export async function batch(lines: readonly string[], host?: Host): Promise<void> {
  const argv = ["ip", ...host === undefined ? [] : ["-netns", host.name], "-batch", "-"];
  const { code, stderr } = await run(argv, { stdin: `${lines.join("\n")}\n` });
  if (code !== 0) throw new Error(`Cannot run ${argv.join(" ")}: exit code ${code}: ${stderr.trimEnd()}`);
}

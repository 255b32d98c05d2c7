/**
 * Test equipment: those who ask, and what they found.
 *
 * @module
 */
import type { Host } from "./host.ts";
import { lines } from "./lines.ts";
import type { Outage } from "./outage.ts";

/** Something that did not go as it should, or not at once. */
export interface Trouble {
  readonly who: string;
  readonly address: string;
  /** Unix milliseconds of its begin. */
  readonly at: number;
  /** How long it took. */
  readonly ms: number;
  readonly what: string;
}

/** What one or several clients found. */
export interface Tally {
  asked: number;
  /** Not answered, or not by the right kube-apiserver. */
  readonly failed: Trouble[];
  /** Answered so late that a packet may have been lost, or that the machine had no time. */
  readonly slow: Trouble[];
  /** Answered after the connection had been refused, since nobody listened. */
  readonly waited: Trouble[];
  /** Watches that had been answered, and ended. */
  readonly broken: Trouble[];
  /** First packets of connections that the kernel of the machine had to send again, since nothing had come back for a second. */
  lost: number;
  /** The longest of the other requests, in milliseconds. */
  worst: number;
}

/** Several tallies as one. */
export function sum(tallies: readonly Tally[]): Tally {
  return {
    asked: tallies.reduce((sum, { asked }) => sum + asked, 0),
    failed: tallies.flatMap(({ failed }) => failed),
    slow: tallies.flatMap(({ slow }) => slow),
    waited: tallies.flatMap(({ waited }) => waited),
    broken: tallies.flatMap(({ broken }) => broken),
    lost: tallies.reduce((sum, { lost }) => sum + lost, 0),
    worst: Math.max(0, ...tallies.map(({ worst }) => worst)),
  };
}

/** The command line of a program of this folder. */
export function script(name: string, ...args: string[]): string[] {
  const path = new URL(name, import.meta.url).pathname;
  // They need nothing of the project's, and so start faster.
  return [Deno.execPath(), "run", "--quiet", "--no-config", "--no-lock", "--allow-all", path, ...args];
}

/** A child that answers lines. */
class Servant implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncGenerator<string>;
  /** Questions are asked one at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(host: Host, argv: readonly string[]) {
    this.#child = host.spawn(argv, { stdin: "piped", stdout: "piped" });
    this.#input = this.#child.stdin.getWriter();
    this.#answers = lines(this.#child.stdout);
  }

  protected tell(line: string): Promise<void> {
    return this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  protected ask<Answer>(line: string): Promise<Answer> {
    const answer = this.#last.then(async () => {
      await this.tell(line);
      const { value, done } = await this.#answers.next();
      if (done) throw new Error(`Cannot ask a client for "${line}": it has ended`);
      return JSON.parse(value);
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
    await this.#input.close().catch(() => {});
    await this.#child.status;
    await this.#answers.return(undefined);
  }
}

/** A child that runs client.ts. */
export class Client extends Servant {
  /** What happened since this was asked last. */
  report(): Promise<Tally> {
    return this.ask("report");
  }

  /** How long requests may take from now on, in milliseconds. */
  async patience(ms: number): Promise<void> {
    await this.ask(`patience ${ms}`);
  }

  /** Asks a server on the same machine. */
  get(url: string): Promise<{ readonly status: number; readonly body: string }> {
    return this.ask(`get ${url}`);
  }
}

/** A child that runs probe.ts. */
export class Probe extends Servant {
  constructor(host: Host) {
    super(host, script("probe.ts"));
  }

  /** Begins to connect each `every` milliseconds. */
  watch(address: string, every: number): Promise<void> {
    return this.tell(`watch ${address} ${every}`);
  }

  /** Ends it. */
  stop(): Promise<Outage> {
    return this.ask("stop");
  }
}

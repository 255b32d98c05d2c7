import { assertEquals, AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";
import { Namespace } from "../support/namespace.ts";
import {
  addedLines,
  assertSameDump,
  type Backend,
  BINARY,
  Program,
  rouse,
  ruleLines,
  SCRIPTS,
  toolbox,
} from "../support/program.ts";
import { ALTERNATIVE_NAME, FAMILIES, type Family, FOREIGN_LINK, OURS, putAll } from "./foreign.ts";
import { canonical, OWN_LINK } from "./canonical.ts";
import { FILL, LISTENED_TO, MOODY } from "./scripts.ts";
import { descendants, find, memory, type ProcessId, running, send } from "./processes.ts";

/**
 * Which interface carries the addresses: `lo`, one of somebody else's, the same by its alternative name, or one that the
 * program creates.
 */
export type LinkKind = "lo" | "foreign" | "alternative" | "own";

/** What a {@linkcode World} is like. */
export interface WorldOptions {
  readonly backend: Backend;
  readonly link: LinkKind;
  /** True: the interval is an hour, so that nothing but events and polls can bring anything back. */
  readonly eventsOnly: boolean;
}

/** The time of a check of everything, and the longest of a command, where it is not {@linkcode WorldOptions.eventsOnly}. */
const INTERVAL_MS = 1000;
const COMMAND_TIMEOUT_MS = 2000;
/** The program's pause between two looks at legacy rules. */
const POLL_MS = 5000;
/** The longest pause in a fight: chaos is one. */
const DAMPING_MS = 1000;
/** What a machine that does a lot else may add. */
const SLACK_MS = 2000;
/** What was started by the program ends this soon after it. */
const CHILDREN_MS = 3000;
/** The program ends this soon after SIGTERM: it makes no cleanup, and a log that nobody reads may hold it up for a second. */
const END_MS = 3000;

/** A node in a namespace with the running program on it, and what everything looks like when all is well. */
export class World implements AsyncDisposable {
  readonly namespace: Namespace;
  readonly options: WorldOptions;
  readonly program: Program;
  /** The dump before the program was there. */
  readonly #foreign: string;
  #ours: readonly string[] = [];
  #wanted: readonly string[] = [];
  #struckAt = performance.now();
  #worst = 0;

  private constructor(namespace: Namespace, options: WorldOptions, program: Program, foreign: string) {
    this.namespace = namespace;
    this.options = options;
    this.program = program;
    this.#foreign = foreign;
  }

  /** Makes one, and waits until all is well there. */
  static async create(options: WorldOptions): Promise<World> {
    const namespace = await Namespace.create();
    let program: Program | undefined;
    try {
      const { backend, link, eventsOnly } = options;
      await putAll(namespace, backend);
      // Nothing of the kind may differ later: the look of the legacy back end makes the tables there.
      const foreign = canonical(await namespace.dump());
      const ip = link === "own" ? SCRIPTS.bridgeForDummy : MOODY;
      const path = await toolbox(namespace, { backend, restore: MOODY, ip });
      const flags = [
        ...FAMILIES.map((family) => `--ip-address=${OURS[family]}`),
        "--setup-iptables",
        `--iptables-mode=${backend}`,
        `--interface=${link === "alternative" ? ALTERNATIVE_NAME : linkName(link)}`,
        `--sync-interval=${eventsOnly ? "1h" : `${INTERVAL_MS}ms`}`,
        `--command-timeout=${COMMAND_TIMEOUT_MS}ms`,
      ];
      program = await Program.start(namespace, flags, { path, backend, program: [BINARY], through: LISTENED_TO });
      const world = new World(namespace, options, program, foreign);
      await world.#learn();
      return world;
    } catch (error) {
      await program?.[Symbol.asyncDispose]();
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The interface that carries the addresses. */
  get link(): string {
    return linkName(this.options.link);
  }

  /** The prefix of the names of the back end's programs for a family. */
  iptables(family: Family): string {
    return `${family === 4 ? "iptables" : "ip6tables"}-${this.options.backend}`;
  }

  /** The longest time in which something is noticed and put right, in milliseconds. */
  get bound(): number {
    const { eventsOnly, backend } = this.options;
    const noticed = eventsOnly ? (backend === "legacy" ? POLL_MS : 0) : INTERVAL_MS + COMMAND_TIMEOUT_MS;
    return noticed + DAMPING_MS + SLACK_MS;
  }

  /** The harm is done, and what was in the way of its repair is out of it. */
  struck(): void {
    this.#struckAt = performance.now();
  }

  /**
   * Waits until everything of ours is there exactly once, then asserts that nothing else has changed.
   *
   * @param bound Milliseconds in which it has to be.
   * @returns Milliseconds until it was seen to be, at the worst since the last time.
   */
  async recover(bound: number): Promise<number> {
    await this.regain(bound);
    await this.#assertWhole();
    const worst = this.#worst;
    this.#worst = 0;
    return worst;
  }

  /** Waits until everything of ours is there exactly once, whatever harm still lasts. */
  regain(bound = this.bound): Promise<void> {
    return this.until(() => this.#look(), this.#wanted, bound);
  }

  /** Waits until a look finds what is wanted, since the harm was done. */
  async until(look: () => Promise<readonly string[]>, wanted: readonly string[], bound = this.bound): Promise<void> {
    while (true) {
      const asked = performance.now() - this.#struckAt;
      const found = await look();
      if (`${found}` === `${wanted}`) {
        this.#worst = Math.max(this.#worst, performance.now() - this.#struckAt);
        return;
      }
      if (this.program.over) throw new AssertionError("The program has ended");
      if (asked > bound) assertEquals(found, wanted, `Not as wanted after ${Math.round(bound)} ms`);
      await delay(2);
    }
  }

  /** Has nobody read what the program logs, and its pipe full, while something is done. */
  async unheard<T>(action: () => Promise<T>): Promise<T> {
    const listener = Number(await this.namespace.ok(["cat", "/run/listener"]));
    send(listener, "SIGSTOP");
    try {
      await this.namespace.run(["sh", "-c", FILL]);
      return await action();
    } finally {
      send(listener, "SIGCONT");
    }
  }

  /** What the program has started and not ended. */
  children(): Promise<readonly ProcessId[]> {
    return descendants(this.program.pid);
  }

  /** Its memory in MiB. */
  memory(): ReturnType<typeof memory> {
    return memory(this.program.pid);
  }

  /** Ends the program, and asserts that nothing of what it started is left then. */
  async end(signal: "SIGTERM" | "SIGKILL", { unheard = false } = {}): Promise<void> {
    const children = await this.children();
    if (unheard) await this.unheard(() => this.#endInTime(signal));
    const { code, stderr } = await (unheard ? this.program.end() : this.program.stop(signal));
    if (signal === "SIGTERM") {
      assertEquals(code, 0, `Exit code after SIGTERM\n${stderr}`);
      // A defect shows as a stack trace, or as what the runtime says.
      assertEquals(stderr.split("\n").filter((line) => /^\s+at |Uncaught|defect of this program/.test(line)), []);
      assertEquals(await running(children), [], "Still there after the end of the program");
    } else {
      for (const { pid, name } of children) {
        // A stopped process has to be let go on, and a tool that hangs without looking at its pipe to be killed, by whoever
        // did that to it.
        send(pid, name === "sleep" ? "SIGKILL" : "SIGCONT");
      }
      await rouse(this.namespace);
      const deadline = performance.now() + CHILDREN_MS;
      let left = await running(children);
      while (left.length > 0 && performance.now() < deadline) {
        await delay(5);
        left = await running(left);
      }
      assertEquals(left, [], "Still there after SIGKILL and an event for each watcher");
    }
  }

  async #endInTime(signal: Deno.Signal): Promise<void> {
    this.program.kill(signal);
    const deadline = performance.now() + END_MS;
    while (await find(this.program.pid) !== undefined) {
      if (performance.now() > deadline) throw new AssertionError(`Still there ${END_MS} ms after ${signal}`);
      await delay(5);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.namespace[Symbol.asyncDispose]();
  }

  /** Waits for the first set-up, and learns what it looks like. */
  async #learn(): Promise<void> {
    const count = 2 + 10;
    await this.program.until(async () => {
      const found = await this.#look();
      const own = found.filter((line) => isOurs(line));
      assertEquals(own.length, count, own.join("\n"));
    });
    this.#wanted = await this.#look();
    this.#ours = addedLines(this.#foreign, canonical(await this.namespace.dump()));
  }

  /**
   * All addresses, local routes and rules in which one of ours is named, in an order that does not depend on time. The kernel
   * shows an IPv6 address before it has made its route.
   */
  async #look(): Promise<readonly string[]> {
    const looks = FAMILIES.flatMap((family) => [
      `ip -${family} route show table local`,
      `${this.iptables(family)}-save`,
    ]);
    const text = await this.namespace.ok(["sh", "-c", ["ip -oneline address", ...looks].join(" && ")]);
    return canonical(text).split("\n").filter((line) => /10\.96\.0\.2\b|fd00:96::2\b/.test(line)).toSorted();
  }

  async #assertWhole(): Promise<void> {
    const lines = canonical(await this.namespace.dump()).split("\n");
    for (const own of this.#ours) {
      const index = lines.indexOf(own);
      if (index < 0) throw new AssertionError(`Not there any more: ${own}`);
      lines.splice(index, 1);
    }
    assertSameDump(lines.join("\n"), this.#foreign);
  }
}

function linkName(link: LinkKind): string {
  return link === "lo" ? "lo" : link === "own" ? OWN_LINK : FOREIGN_LINK;
}

/** Whether a line of the look is one of an address or a rule of ours, and not nearly so. */
function isOurs(line: string): boolean {
  const address = /^\S+ +inet6? (10\.96\.0\.2\/32|fd00:96::2\/128) /.test(line);
  return address || FAMILIES.some((family) => ruleLines(OURS[family]).some((rule) => rule.endsWith(line)));
}

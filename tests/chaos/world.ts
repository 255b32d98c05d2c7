import { assertEquals, AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";
import { Namespace } from "../support/namespace.ts";
import {
  addedLines,
  assertSameDump,
  type Backend,
  BINARY,
  Program,
  ruleLines,
  SCRIPTS,
  toolbox,
} from "../support/program.ts";
import { FAMILIES, type Family, FOREIGN_LINK, OURS, putAll } from "./foreign.ts";
import { descendants, memory, type ProcessId, running, send } from "./processes.ts";

/** Which interface carries the addresses: `lo`, one of somebody else's, or one that the program creates. */
export type LinkKind = "lo" | "foreign" | "own";

/** What a {@linkcode World} is like. */
export interface WorldOptions {
  readonly backend: Backend;
  readonly link: LinkKind;
  /** True: the interval is an hour, so that nothing but events and polls can bring anything back. */
  readonly eventsOnly: boolean;
}

/** Name of the interface that the program creates. */
const OWN_LINK = "aps0";
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

/** In the place of a tool: as a file says, it fails, hangs, or prints what nobody can read. */
const MOODY = `mood=$(cat "/run/mood-$name" 2>&-) || mood=well
case $mood in
  fail) echo "$name: a failure of the test" >&2; exit 4 ;;
  hang) exec sleep 60 ;;
  garbage) echo "[{]"; exit 0 ;;
  *) exec "$real" "$@" ;;
esac`;

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
        `--interface=${linkName(link)}`,
        `--sync-interval=${eventsOnly ? "1h" : `${INTERVAL_MS}ms`}`,
        `--command-timeout=${COMMAND_TIMEOUT_MS}ms`,
      ];
      program = await Program.start(namespace, flags, { path, backend, program: [BINARY] });
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
   * @returns Milliseconds until it was seen to be.
   */
  async recover(bound: number): Promise<number> {
    while (true) {
      const asked = performance.now() - this.#struckAt;
      const found = await this.#look();
      const time = performance.now() - this.#struckAt;
      if (`${found}` === `${this.#wanted}`) {
        await this.#assertWhole();
        return time;
      }
      if (this.program.over) throw new AssertionError("The program has ended");
      if (asked > bound) assertEquals(found, this.#wanted, `Not as wanted after ${bound} ms`);
      await delay(2);
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

  /** Ends the program, and asserts that nothing of what it started is left then, and that all of it still stands. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const children = await this.children();
    const { code, stderr } = await this.program.stop(signal);
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
      await this.#rouse();
      const deadline = performance.now() + CHILDREN_MS;
      let left = await running(children);
      while (left.length > 0 && performance.now() < deadline) {
        await delay(5);
        left = await running(left);
      }
      assertEquals(left, [], "Still there after SIGKILL and an event for each watcher");
    }
  }

  /** Makes events of each kind that somebody may watch. */
  async #rouse(): Promise<void> {
    await this.namespace.ok(["ip", "link", "set", "lo", "alias", "roused"]);
    for (const family of FAMILIES) {
      const program = `${family === 4 ? "iptables" : "ip6tables"}-nft`;
      for (const command of ["-A", "-D"]) {
        await this.namespace.ok([program, "-t", "raw", command, "OUTPUT", "-p", "udp", "-j", "ACCEPT"]);
      }
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

  /** All addresses and rules in which one of ours is named, in an order that does not depend on time. */
  async #look(): Promise<readonly string[]> {
    const [v4, v6] = FAMILIES.map((family) => `${this.iptables(family)}-save`);
    const text = await this.namespace.ok(["sh", "-c", `ip -oneline address && ${v4} && ${v6}`]);
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

/** A dump without what may differ though nothing has changed: the order of chains, and the marks of a link made anew. */
function canonical(text: string): string {
  // The kernel gives each link an address of its own, some time after its start.
  const isLate = (line: string) => line.includes(OWN_LINK) && /\bfe80::|\bmulticast ff00::/.test(line);
  const lines = text.split("\n").filter((line) => !isLate(line)).map((line) => {
    const named = line.replace(/^\d+: (?=\S+ +inet)/, "").replace(/ +(valid_lft|preferred_lft) \d+sec/g, " $1 limited")
      .replace(/CT --notrack$/, "NOTRACK");
    if (!named.includes(OWN_LINK)) return named;
    return named.replace(/^\d+: /, "").replaceAll(
      /\b(\d{4}\.)?([\da-f]{1,2}:){5}[\da-f]{1,2}\b/g,
      "…",
    );
  });
  // Chains stand in the order in which they were made.
  const sorted: string[] = [];
  for (let i = 0; i < lines.length;) {
    let end = i;
    while (/^(-A|:)/.test(lines[end] ?? "")) end++;
    if (end === i) {
      sorted.push(lines[i++]!);
      continue;
    }
    const chainOf = (line: string) => line.startsWith(":") ? `0${line}` : `1${line.split(" ")[1]}`;
    sorted.push(
      ...lines.slice(i, end).toSorted((a, b) => chainOf(a) < chainOf(b) ? -1 : chainOf(a) > chainOf(b) ? 1 : 0),
    );
    i = end;
  }
  return sorted.join("\n");
}

import { delay } from "@std/async/delay";
import type { Random } from "../support/random.ts";
import { ADDRESS, Daemon, FLAGS } from "./daemon.ts";
import type { Backend } from "./foreign.ts";
import { favoured } from "./libc.ts";
import { NetworkProbe } from "./netlink.ts";
import type { Node } from "./node.ts";

/** What is taken away: the address, one rule, all rules of the table filter, all rules, or everything. */
export type Kind = "address" | "rule" | "filter" | "rules" | "all";

/** What is damped by itself. */
type Part = "address" | "rules";

/** The rules of one address. */
const RULES = 5;
const TABLES = ["raw", "filter"] as const;
/** Losses of an item in a row that are not a fight yet, and the time after which they count no more. */
const PEACEFUL_LOSSES = 4;
const PEACE_MS = 10_500;
/** Between two looks, once it has taken long. */
const LOOK_MS = 5;
/** So long the whole thread waits for a repair; after that it looks now and then. */
const SPIN_MS = 200;

/** A daemon on a node from which something is taken away. */
export class Victim implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly #node: Node;
  readonly #backend: Backend;
  readonly #probe: NetworkProbe;
  #losses: readonly { readonly part: Part; readonly at: number }[] = [];

  private constructor(node: Node, backend: Backend, daemon: Daemon) {
    this.#node = node;
    this.#backend = backend;
    this.#probe = new NetworkProbe(node.pid);
    this.daemon = daemon;
  }

  /** Starts the program, without waiting for anything. */
  static start(node: Node, program: readonly string[], backend: Backend = "nft", flags = FLAGS): Victim {
    return new Victim(node, backend, Daemon.start(node, program, flags));
  }

  /** Waits until all is set up; gives whether it is in `patience` milliseconds. */
  async ready(patience = 30_000): Promise<boolean> {
    const deadline = performance.now() + patience;
    const isThere = async () => (await this.#node.run(["ip", "address", "show", "to", ADDRESS])).includes(ADDRESS);
    while (!this.#complete() || !await isThere()) {
      if (performance.now() > deadline) return false;
      await delay(LOOK_MS);
    }
    return true;
  }

  /** Waits until the kernel says that a monitor of rules has subscribed, or until it is clear that none will. */
  async listening(patience: number): Promise<boolean> {
    for (const deadline = performance.now() + patience; performance.now() < deadline; await delay(50)) {
      const sockets = (await this.#node.run(["cat", "/proc/net/netlink"])).split("\n").map((line) => line.split(/\s+/));
      // This probe's own has a group too.
      if (sockets.filter(([, protocol, , groups]) => protocol === "12" && groups === "00000040").length > 1) {
        return true;
      }
    }
    return false;
  }

  /**
   * Takes something away, and gives the milliseconds until the last of it is back; `patience` if it is not by then.
   *
   * @param turn Which rule, where one is taken.
   */
  async lose(kind: Kind, { turn = 0, patience = 30_000 } = {}): Promise<number> {
    await this.#peace(kind);
    this.#losses = [...this.#losses, ...partsOf(kind).map((part) => ({ part, at: performance.now() }))];
    const started = await this.#take(kind, turn);
    let addressIsBack = !partsOf(kind).includes("address");
    const isBack = (ms: number) => {
      addressIsBack = this.#probe.wait(ms).includes(ADDRESS) || addressIsBack;
      return addressIsBack && (kind === "address" || this.#complete());
    };
    const back = favoured(() => {
      // With the legacy back end nothing tells when to look.
      const slice = this.#backend === "legacy" ? 1 : 50;
      while (performance.now() < started + SPIN_MS) {
        if (isBack(slice)) return performance.now() - started;
      }
      return undefined;
    });
    if (back !== undefined) return back;
    while (!isBack(0)) {
      if (performance.now() > started + patience) return patience;
      await delay(LOOK_MS);
    }
    return performance.now() - started;
  }

  /** Waits until everything is there, after others have taken it; gives the milliseconds, `patience` if it is not by then. */
  async back(patience: number): Promise<number> {
    const started = performance.now();
    while (!this.#complete()) {
      if (performance.now() > started + patience) return patience;
      await delay(LOOK_MS);
    }
    return performance.now() - started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#probe[Symbol.dispose]();
    await this.daemon[Symbol.asyncDispose]();
  }

  #complete(): boolean {
    if (this.#backend === "nft") return this.#probe.rules().length >= RULES;
    // An entry for each built-in chain, one more, and one for each rule: raw has two chains, filter three.
    return this.#probe.legacyEntries("raw") >= 3 + 3 && this.#probe.legacyEntries("filter") >= 4 + 2;
  }

  /** Takes it; gives the time from which on it is missing. */
  async #take(kind: Kind, turn: number): Promise<number> {
    if (this.#backend === "legacy") return await this.#takeLegacy(kind, turn);
    const rules = this.#probe.rules();
    this.#probe.wait(0);
    return favoured(() => {
      const started = performance.now();
      if (kind === "rule") this.#probe.deleteRule(rules[turn % rules.length]!);
      if (kind === "filter") this.#probe.flushTable("filter");
      if (kind === "rules") TABLES.forEach((table) => this.#probe.flushTable(table));
      if (kind === "all") this.#probe.flushRuleset();
      if (kind === "address" || kind === "all") this.#probe.deleteAddress(ADDRESS);
      return started;
    });
  }

  async #takeLegacy(kind: Kind, turn: number): Promise<number> {
    if (kind === "address") {
      this.#probe.wait(0);
      this.#probe.deleteAddress(ADDRESS);
      return performance.now();
    }
    if (kind !== "rule") throw new Error(`Cannot take away "${kind}" with iptables-legacy`);
    const table = TABLES[turn % TABLES.length]!;
    await this.#node.run(["iptables-legacy", "--wait", "-t", table, "-D", "OUTPUT", "1"]);
    return performance.now();
  }

  /** Waits until nothing of it would be the start of a fight. */
  async #peace(kind: Kind): Promise<void> {
    const waits = partsOf(kind).map((part) => {
      const times = this.#losses.filter((loss) => loss.part === part).map(({ at }) => at);
      const first = times.findLastIndex((at, i) => at - (times[i - 1] ?? -Infinity) > PEACE_MS);
      return times.length - first < PEACEFUL_LOSSES || first < 0 ? 0 : times.at(-1)! + PEACE_MS - performance.now();
    });
    await delay(Math.max(0, ...waits));
  }
}

function partsOf(kind: Kind): readonly Part[] {
  return kind === "address" ? ["address"] : kind === "all" ? ["address", "rules"] : ["rules"];
}

/** Losses by turns from several victims, with some random time between them. */
export async function loseByTurns(
  victims: readonly Victim[],
  kind: Kind,
  { count, random, pause = 40, patience }: {
    readonly count: number;
    readonly random: Random;
    readonly pause?: number;
    readonly patience?: number;
  },
): Promise<number[]> {
  const times: number[] = [];
  for (let turn = 0; turn < count; turn++) {
    await delay(random.between(pause, 2 * pause));
    const victim = victims[turn % victims.length]!;
    times.push(
      await victim.lose(kind, { turn: Math.floor(turn / victims.length), ...patience !== undefined && { patience } }),
    );
  }
  return times;
}

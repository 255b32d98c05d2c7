/**
 * Measures how long a loss lasts, from the deleting side: from the delete until the kernel reports that it has it again.
 *
 *     deno run -P=test tests/bench/repair.ts [--busy] [--count=200] [--kind=address,rule] [--daemons=8] [--program=FILE] [--favoured]
 *
 * The compiled program (`make build`) runs several times, each in a network namespace of its own, as on a node: one address,
 * one port. They take turns, and no item is lost a fifth time within 10 s of its last loss, so that neither damping nor the
 * limit of passes plays a part. One process, at the highest priority it can get, deletes through netlink (t0 is before the
 * system call) and sleeps in poll(2) until the kernel's own event of the return; nothing is forked and nothing is asked in
 * between, so that the method adds no more than one wake-up; what it measures where nothing has to be noticed is printed first.
 * With --favoured the daemons have that priority too, which shows what an idle machine does on one that is shared.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { delay } from "@std/async/delay";
import { Namespace } from "../support/namespace.ts";
import { BINARY, ruleLines } from "../support/program.ts";
import { type KernelRule, NetworkProbe } from "./netlink.ts";

const ADDRESS = "10.96.0.2";
/** Losses of an item in a row that are not a fight yet, and the time after which they count no more. */
const PEACEFUL_LOSSES = 4;
const PEACE_MS = 10_500;
/** Between two samples, of whichever daemon. */
const PAUSE_MS = { least: 160, spread: 100 };
/** A loss that lasts longer has not been repaired. */
const PATIENCE_MS = 30_000;

/** What is lost in a sample, and what is wanted for its return, in milliseconds: the median and the 99th percentile. */
const KINDS = {
  address: { title: "address", p50: 1, p99: 10 },
  rule: { title: "rule (nft)", p50: 6, p99: 25 },
  filter: { title: "iptables -F (nft)", p50: Infinity, p99: 50 },
  ruleset: { title: "nft flush ruleset", p50: Infinity, p99: 50 },
  everything: { title: "all of it at once", p50: Infinity, p99: 50 },
  legacy: { title: "rule (legacy)", p50: Infinity, p99: 5100 },
} as const;
type Kind = keyof typeof KINDS;
/** How much longer it may take when all cores are busy. */
const BUSY_FACTOR = 10;

interface Options {
  readonly count: number;
  readonly kinds: readonly Kind[];
  readonly daemons: number;
  readonly busy: boolean;
  readonly program: string;
  readonly favoured: boolean;
}

/** Runs this file in a namespace. */
async function enter(): Promise<number> {
  await using namespace = await Namespace.create();
  const argv = [Deno.execPath(), "run", "--quiet", "-P=test", import.meta.filename!, "--inside", ...Deno.args];
  // Where this is not allowed, nice says so and goes on.
  const [program, ...args] = ["nice", "--adjustment=-20", ...namespace.argv(["env", `--chdir=${Deno.cwd()}`, ...argv])];
  return (await new Deno.Command(program!, { args }).spawn().status).code;
}

async function measure({ count, kinds, daemons, busy, program, favoured }: Options): Promise<number> {
  print(`${count} samples each, ${daemons} daemons in turn, ${busy ? "all cores kept busy" : "idle"}`);
  print(`floor of the method: ${(await resolution()).map((ms) => `${ms.toFixed(3)} ms`).join(" (p50), ")} (p99)`);
  print(
    ["", "p50", "p90", "p99", "max", "(ms)"].map((title, i) => i === 0 ? title.padEnd(20) : title.padStart(9)).join(""),
  );
  let missed = 0;
  const load = busy ? Array.from({ length: navigator.hardwareConcurrency }, burn) : [];
  try {
    for (const backend of ["nft", "legacy"] as const) {
      const chosen = kinds.filter((kind) => (kind === "legacy") === (backend === "legacy"));
      if (chosen.length === 0) continue;
      const fleet = await Promise.all(
        Array.from({ length: daemons }, () => Daemon.start([...favoured ? [] : atNormalPriority(), program], backend)),
      );
      // Their monitors have subscribed by then, and the pass that follows is over.
      await delay(3000);
      try {
        for (const kind of chosen) {
          const times = backend === "nft" ? await sample(fleet, kind, count) : await sampleLegacy(fleet, count);
          missed += tell(kind, times, busy);
        }
      } finally {
        await Promise.all(fleet.map((daemon) => daemon.stop()));
      }
    }
  } finally {
    for (const child of load) child.kill();
    await Promise.all(load.map(({ status }) => status));
  }
  return missed === 0 ? 0 : 1;
}

/** From a line written to a waiting `ip -batch` to the event of what it did: p50 and p99. No repair can seem faster. */
async function resolution(): Promise<number[]> {
  const ip = new Deno.Command("ip", { args: ["-batch", "-"], stdin: "piped", stdout: "null" }).spawn();
  const writer = ip.stdin.getWriter();
  using probe = new NetworkProbe(Deno.pid);
  const times: number[] = [];
  for (let i = 0; i < 100; i++) {
    const started = performance.now();
    await writer.write(new TextEncoder().encode(`address add ${ADDRESS}/32 dev lo\n`));
    probe.wait(1000);
    times.push(performance.now() - started);
    probe.deleteAddress(ADDRESS);
    probe.drain();
  }
  await writer.close();
  await ip.status;
  return [percentile(times, 0.5), percentile(times, 0.99)];
}

/** A process that never sleeps. */
function burn(): Deno.ChildProcess {
  const [program, ...args] = [...atNormalPriority(), "sh", "-c", "while :; do :; done"];
  return new Deno.Command(program!, { args }).spawn();
}

/** What starts a program at the priority that programs have, unlike this process. */
function atNormalPriority(): string[] {
  const fields = Deno.readTextFileSync("/proc/self/stat").replace(/^.*\) /, "").split(" ");
  return ["nice", `--adjustment=${-Number(fields[16])}`];
}

/** Losses of one item that follow each other. */
interface Losses {
  readonly count: number;
  readonly last: number;
}

const NO_LOSSES: Losses = { count: 0, last: -Infinity };

/** One running program. */
class Daemon {
  readonly #child: Deno.ChildProcess;
  readonly probe: NetworkProbe;
  readonly losses = new Map<string, Losses>();
  rules: readonly KernelRule[] = [];

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.probe = new NetworkProbe(child.pid);
  }

  static async start(program: readonly string[], backend: "nft" | "legacy"): Promise<Daemon> {
    const flags = [`--ip-address=${ADDRESS}`, "--setup-iptables", `--iptables-mode=${backend}`, "--sync-interval=1h"];
    const script = 'ip link set lo up && echo && exec "$@"';
    const child = new Deno.Command("unshare", {
      args: ["--net", "sh", "-c", script, "sh", ...program, ...flags],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read(); // it is in its network by now
    await reader.cancel();
    const daemon = new Daemon(child);
    new Response(child.stderr).text().then((text) => daemon.#stderr = text);
    const deadline = performance.now() + PATIENCE_MS;
    while (!await daemon.#ready(backend)) {
      if (performance.now() > deadline) throw new Error("The daemon does not set up what it should");
      await delay(20);
    }
    // What the start adds counts as lost.
    for (const item of itemsOf("everything", daemon, 0)) daemon.losses.set(item, { count: 1, last: performance.now() });
    return daemon;
  }

  #stderr = "";

  async #ready(backend: "nft" | "legacy"): Promise<boolean> {
    if (!(await this.run(["ip", "address"])).includes(ADDRESS)) return false;
    if (backend === "legacy") {
      const saved = await this.run(["iptables-legacy-save"]);
      return saved.split("\n").filter((line) => line.includes(ADDRESS)).length === 5;
    }
    const { nftables }: { nftables: { rule?: KernelRule & { handle: number } }[] } = JSON.parse(
      await this.run(["nft", "--json", "--handle", "list", "ruleset"]),
    );
    this.rules = nftables.flatMap(({ rule }) => rule === undefined ? [] : [{ ...rule, handle: BigInt(rule.handle) }]);
    return this.rules.length === 5;
  }

  /** Runs a program in the same network. */
  async run(argv: readonly string[]): Promise<string> {
    const { stdout } = await new Deno.Command("nsenter", {
      args: [`--net=/proc/${this.#child.pid}/ns/net`, ...argv],
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout);
  }

  /** Milliseconds until nothing of some items would be the start of a fight. */
  peace(items: readonly string[]): number {
    const now = performance.now();
    return Math.max(...items.map((item) => {
      const { count, last } = this.losses.get(item) ?? NO_LOSSES;
      return count < PEACEFUL_LOSSES ? 0 : last + PEACE_MS - now;
    }));
  }

  /** Takes some items away, and gives the milliseconds until the last of them is back. */
  lose(kind: Kind, items: readonly string[]): number {
    for (const item of items) {
      const { count, last } = this.losses.get(item) ?? NO_LOSSES;
      const now = performance.now();
      this.losses.set(item, { count: now - last < PEACE_MS ? count + 1 : 1, last: now });
    }
    // Of a chain with two rules of ours, the deletion of "a rule" takes the first.
    const lost = kind === "rule"
      ? [this.rules.find((rule) => place(rule) === items[0])!]
      : this.rules.filter((rule) => items.includes(place(rule)));
    const awaited = [...items.includes("address") ? ["address"] : [], ...lost.map(place)];
    this.rules = this.rules.filter((rule) => !lost.includes(rule));
    this.probe.drain();
    const started = performance.now();
    if (kind === "rule") this.probe.deleteRule(lost[0]!);
    else if (kind === "filter") this.probe.flushTable("filter");
    else if (kind !== "address") this.probe.flushRuleset();
    if (items.includes("address")) this.probe.deleteAddress(ADDRESS);
    while (awaited.length > 0) {
      const arrivals = this.probe.wait(PATIENCE_MS);
      if (arrivals.length === 0 && performance.now() - started > PATIENCE_MS) {
        throw new Error(`It does not come back: ${awaited.join(", ")}`);
      }
      for (const arrival of arrivals) {
        if (arrival.kind === "rule") this.rules = [...this.rules, arrival];
        const index = awaited.indexOf(arrival.kind === "rule" ? place(arrival) : "address");
        if (index >= 0) awaited.splice(index, 1);
      }
    }
    return performance.now() - started;
  }

  async stop(): Promise<void> {
    this.probe[Symbol.dispose]();
    this.#child.kill();
    const { code } = await this.#child.status;
    const problems = this.#stderr.split("\n").filter((line) => /^[WEF]/.test(line));
    if (code !== 0 || problems.length > 0) print(`The daemon ended with exit code ${code}: ${problems.join("\n")}`);
  }
}

/** The items of a daemon that a sample takes away: "address", or the place of a rule. */
function itemsOf(kind: Kind, daemon: Daemon, turn: number): readonly string[] {
  const all = daemon.rules.map(place);
  switch (kind) {
    case "address":
      return ["address"];
    case "rule":
      return [all[turn % all.length]!];
    case "filter":
      return all.filter((name) => name.startsWith("filter"));
    case "ruleset":
      return all;
    default:
      return ["address", ...all];
  }
}

function place(rule: KernelRule): string {
  return `${rule.table} ${rule.chain}`;
}

async function sample(fleet: readonly Daemon[], kind: Kind, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let turn = 0; times.length < count; turn++) {
    const daemon = fleet[turn % fleet.length]!;
    const items = itemsOf(kind, daemon, Math.floor(turn / fleet.length));
    await delay(Math.max(daemon.peace(items), PAUSE_MS.least + Math.random() * PAUSE_MS.spread));
    times.push(daemon.lose(kind, items));
  }
  return times;
}

/** The legacy back end reports nothing: the number of its rules is asked for each millisecond. */
async function sampleLegacy(fleet: readonly Daemon[], count: number): Promise<number[]> {
  const lines = ruleLines().map((line) => line.split(" "));
  const times = await Promise.all(fleet.map(async (daemon, i) => {
    const own: number[] = [];
    for (let turn = i; turn < count; turn += fleet.length) {
      const [table = "", , ...spec] = lines[Math.floor(turn / fleet.length) % lines.length]!;
      // It may happen at any moment between two looks.
      await delay(Math.random() * 5000);
      const before = daemon.probe.legacyEntries(table);
      const started = performance.now();
      await daemon.run(["iptables-legacy", "--wait", "-t", table, "-D", ...spec]);
      while (daemon.probe.legacyEntries(table) < before) await delay(1);
      own.push(performance.now() - started);
    }
    return own;
  }));
  return times.flat();
}

/** Prints the times of a kind; 1 if they miss the target. */
function tell(kind: Kind, times: readonly number[], busy: boolean): number {
  const { title, p50, p99 } = KINDS[kind];
  const [median, ninety, high, max] = [0.5, 0.9, 0.99, 1].map((share) => percentile(times, share));
  const held = busy ? high! <= p99 * BUSY_FACTOR : median! <= p50 && high! <= p99;
  const numbers = [median, ninety, high, max].map((ms) => ms!.toFixed(2).padStart(9));
  print(`${title.padEnd(20)}${numbers.join("")}${held ? "" : "  misses the target"}`);
  return held ? 0 : 1;
}

function percentile(times: readonly number[], share: number): number {
  return times.toSorted((a, b) => a - b)[Math.ceil(share * times.length) - 1]!;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) {
  const { busy, count, kind, daemons, program, favoured, inside } = parseArgs(Deno.args, {
    boolean: ["busy", "favoured", "inside"],
    string: ["count", "kind", "daemons", "program"],
    default: { count: "200", kind: Object.keys(KINDS).join(","), daemons: "8", program: BINARY },
  });
  if (inside) {
    const kinds = String(kind).split(",").filter((name): name is Kind => name in KINDS);
    Deno.exitCode = await measure({
      count: Number(count),
      kinds,
      daemons: Number(daemons),
      busy: busy === true,
      program: String(program),
      favoured: favoured === true,
    });
  } else {
    Deno.exitCode = await enter();
  }
}

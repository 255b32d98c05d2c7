/**
 * Measures what the compiled program (`make build`) costs: on an idle node, and on one where something like kube-proxy rewrites
 * 20,000 rules over and over.
 *
 *     deno run -P=test tests/bench/cost.ts [--minutes=10] [--churn=60] [--backend=nft]
 *
 * CPU time is that of the program, of its children that run, and of those that have ended; a wake-up is a voluntary context
 * switch of one of their threads. Memory is told at each tenth of the time, so that growth shows.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { delay } from "@std/async/delay";
import { descendants, memory } from "../chaos/processes.ts";
import { Namespace } from "../support/namespace.ts";
import { type Backend, BINARY, flags, Program, WANTED } from "../support/program.ts";

/** Rules that are rewritten, and the chains that they stand in. */
const RULES = 20_000;
const RULES_OF_A_CHAIN = 10;
const CHAINS_OF_A_TRANSACTION = 40;
/** Length of a clock tick in /proc/PID/stat (USER_HZ). */
const TICK_S = 0.01;
/** The start is over by then. */
const SETTLED_MS = 5000;

/** What the program and its children have used so far. */
interface Use {
  /** CPU seconds, and which of them the program itself used. */
  readonly cpu: number;
  readonly own: number;
  readonly wakeUps: number;
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["minutes", "churn", "backend"],
    default: { minutes: "10", churn: "60", backend: "nft" },
  });
  const backend = String(args.backend) as Backend;
  await using namespace = await Namespace.create();
  await using program = await Program.start(namespace, flags(backend, "-v=2"), { backend, program: [BINARY] });
  await program.reached(namespace, WANTED, backend);
  await delay(SETTLED_MS);

  const minutes = Number(args.minutes);
  if (minutes > 0) {
    const idle = await over(program, 60 * minutes, 10);
    const hours = minutes / 60;
    print(
      `idle for ${minutes} min (${backend}): ${idle.cpu.toFixed(2)} s of CPU (${
        idle.own.toFixed(2)
      } its own), ${idle.wakeUps} wake-ups, ` +
        `${idle.passes} passes; in an hour ${(idle.cpu / hours).toFixed(1)} s, ${Math.round(idle.wakeUps / hours)}`,
    );
  }
  const seconds = Number(args.churn);
  if (seconds > 0) {
    const stop = new AbortController();
    const churning = churn(namespace, backend, stop.signal);
    const busy = await over(program, seconds, 5);
    stop.abort();
    const rewrites = await churning;
    const each = (seconds: number) => `${(1000 * seconds / rewrites).toFixed(0)} ms`;
    print(
      `${rewrites} times ${RULES} rules rewritten in ${seconds} s (${backend}): ${each(busy.cpu)} of CPU for each ` +
        `(${each(busy.own)} its own), ${(busy.passes / seconds).toFixed(1)} passes a second`,
    );
  }
  const { code } = await program.stop();
  if (code !== 0) throw new Error(`The program ended with exit code ${code}:\n${program.stderr}`);
}

/** What the program uses in some seconds, in which its memory is told several times. */
async function over(program: Program, seconds: number, times: number): Promise<Use & { readonly passes: number }> {
  const passes = () => program.stderr.split("Made a pass").length;
  const before = { ...await use(program.pid), passes: passes() };
  for (let i = 0; i <= times; i++) {
    const { rss, anonymous } = await memory(program.pid);
    const children = await Promise.all((await descendants(program.pid)).map(({ pid }) => memory(pid)));
    const theirs = children.reduce((sum, child) => sum + child.anonymous, 0);
    print(
      `  ${Math.round(i * seconds / times)} s: ${rss.toFixed(1)} MiB, anonymous ${anonymous.toFixed(1)} MiB, ` +
        `and ${theirs.toFixed(1)} MiB of ${children.length} children`,
    );
    if (i < times) await delay(1000 * seconds / times);
  }
  const after = await use(program.pid);
  return {
    cpu: after.cpu - before.cpu,
    own: after.own - before.own,
    wakeUps: after.wakeUps - before.wakeUps,
    passes: passes() - before.passes,
  };
}

async function use(pid: number): Promise<Use> {
  const pids = [pid, ...(await descendants(pid)).map((child) => child.pid)];
  const uses = await Promise.all(pids.map(async (it) => {
    const fields = (await Deno.readTextFile(`/proc/${it}/stat`)).replace(/^.*\) /s, "").split(" ").map(Number);
    // utime, stime, and those of its children that have been waited for
    const [user = 0, system = 0, ended = 0, endedSystem = 0] = fields.slice(11, 15);
    let wakeUps = 0;
    for await (const { name } of Deno.readDir(`/proc/${it}/task`)) {
      const status = await Deno.readTextFile(`/proc/${it}/task/${name}/status`);
      wakeUps += Number(status.match(/^voluntary_ctxt_switches:\s+(\d+)/m)?.[1]);
    }
    return {
      cpu: (user + system + ended + endedSystem) * TICK_S,
      own: it === pid ? (user + system) * TICK_S : 0,
      wakeUps,
    };
  }));
  return uses.reduce((sum, one) => ({
    cpu: sum.cpu + one.cpu,
    own: sum.own + one.own,
    wakeUps: sum.wakeUps + one.wakeUps,
  }));
}

/** Rewrites all rules of many chains, again and again, as kube-proxy does in its full syncs; gives how often. */
async function churn(namespace: Namespace, backend: Backend, signal: AbortSignal): Promise<number> {
  const chains = Array.from({ length: RULES / RULES_OF_A_CHAIN }, (_, i) => `KUBE-SVC-${String(i).padStart(8, "0")}`);
  const rules = (chain: string, i: number, port: number) =>
    Array.from(
      { length: RULES_OF_A_CHAIN },
      (_, j) => `-A ${chain} -d 10.${100 + (i >> 8)}.${i & 255}.${j}/32 -p tcp -m tcp --dport ${port} -j ACCEPT`,
    );
  // kube-proxy does it in one transaction, for which only the root of the machine gets a socket buffer.
  const script = (port: number) =>
    Array.from({ length: chains.length / CHAINS_OF_A_TRANSACTION }, (_, t) => {
      const from = t * CHAINS_OF_A_TRANSACTION;
      const some = chains.slice(from, from + CHAINS_OF_A_TRANSACTION);
      return [
        "*filter",
        ...some.map((chain) => `:${chain} - [0:0]`), // flushes it
        ...some.flatMap((chain, i) => rules(chain, from + i, port)),
        "COMMIT",
        "",
      ].join("\n");
    }).join("");
  const program = `iptables-${backend}-restore`;
  let count = 0;
  for (; !signal.aborted; count++) {
    await namespace.ok([program, "--noflush", "--wait"], { stdin: script(1 + count % 60_000) });
  }
  return count;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) await main();

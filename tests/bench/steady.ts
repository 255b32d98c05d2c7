/**
 * What a daemon costs while nothing happens: CPU of a quiet pass, and memory over many.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { type Bench, repeat, type Result } from "./bench.ts";
import { ADDRESS, Daemon, FLAGS } from "./daemon.ts";
import { addKubelet, addRules } from "./foreign.ts";
import { Node } from "./node.ts";
import { type Row, row } from "./rows.ts";

/** Wanted figures. */
const CPU_MS = 5.1;
/** The runtime itself takes more before 2.8. */
const MEMORY_MIB = /^2\.[0-7]\./.test(Deno.version.deno) ? 62 : 52;
/** Passes of one sample of CPU, which the kernel tells in steps of 10 ms. */
const BATCH = 25;
/** Between two passes: the program makes ten in a second at most. */
const PACE_MS = 100;
/** A pass of each of the loops. */
const LOOPS = 2;
/** The start and its echoes are over by then. */
const SETTLED_MS = 3000;
const METRICS = ["--metrics-bind-address=127.0.0.1:8081", "--health-probe-bind-address=127.0.0.1:8081"];

/** Measures the rows of a daemon that has nothing to do. */
export async function measureSteady(bench: Bench): Promise<Result> {
  const { programs, quick } = bench;
  await using node = await Node.create();
  await addKubelet(node, "nft");
  await using daemon = Daemon.start(node, programs.ours);
  await delay(SETTLED_MS);
  const start = await daemon.memory();
  const cpu = await repeat(quick ? 4 : 16, async () => {
    const before = await daemon.cpu();
    await passes(daemon, BATCH);
    return (await daemon.cpu() - before) / BATCH;
  });
  const later = await daemon.memory();
  const reference = await node.run([...programs.reference, "--passes=50", "--interval=10", ADDRESS]);
  const theirs = reference.trim().split("\n").map((line): { cpu: number } => JSON.parse(line)).at(-1)!.cpu / 50;
  return {
    rows: [
      row("CPU of a quiet pass in the daemon, children included", "ms", cpu, { p50: CPU_MS }),
      row("reference: CPU of the commands of a quiet pass", "ms", [theirs]),
      row("memory of the daemon at the start", "MiB", [start.own], { worst: MEMORY_MIB }),
      row(`memory of the daemon after ${cpu.length * BATCH * LOOPS} passes`, "MiB", [later.own], { worst: MEMORY_MIB }),
      ...quick ? [] : await measureMemory(bench),
    ],
  };
}

/** Memory over many passes, and after two million events of others; with metrics, which are asked for now and then. */
async function measureMemory({ programs }: Bench): Promise<Row[]> {
  await using node = await Node.create();
  await addKubelet(node, "nft");
  await using daemon = Daemon.start(node, programs.ours, [...FLAGS, ...METRICS]);
  await delay(SETTLED_MS);
  const rows: Row[] = [];
  const tell = async (when: string) => {
    const what = `memory of the daemon after ${when}, metrics served`;
    rows.push(row(what, "MiB", [(await daemon.memory()).own], { worst: MEMORY_MIB }));
  };
  for (const count of [200, 2000, 36_000]) {
    while (daemon.passes < count) {
      await passes(daemon, BATCH);
      await node.run(["curl", "--silent", "--fail", "--output", "/dev/null", "http://127.0.0.1:8081/metrics"]);
    }
    await tell(`${count.toLocaleString("en")} passes`);
  }
  // 100,000 rules come and go ten times.
  await node.run(["nft", "add", "table", "ip", "nat"]);
  for (let i = 0; i < 10; i++) {
    await addRules(node, 100_000);
    await node.run(["nft", "delete", "table", "ip", "nat"]);
  }
  await delay(SETTLED_MS);
  await tell("these and two million foreign events");
  return rows;
}

async function passes(daemon: Daemon, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const next = delay(PACE_MS);
    await daemon.pass();
    await next;
  }
}

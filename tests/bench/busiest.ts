/**
 * The busiest node: the kubelet's chain and those of 10,000 services, 20,000 chains with 40,000 rules; at rest, while a rule is
 * added every 0.1 s, and while all of it is loaded anew.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { type Bench, repeat, type Result } from "./bench.ts";
import { ADDRESS, Daemon, FLAGS } from "./daemon.ts";
import { addKubelet, addRules, addServices, type Backend, Churn, savedServices } from "./foreign.ts";
import { type Kind, loseByTurns, Victim } from "./losses.ts";
import { Node } from "./node.ts";
import { succeed } from "./pass.ts";
import { ratios, type Row, row, type Wanted } from "./rows.ts";

const SERVICES = 10_000;
/** When a rule is lost soon after all was set up, in milliseconds: a monitor may have started by then, and not hear yet. */
const SOON = { least: 500, most: 1500 };
/** Memory of the program and its children, at most. */
const TOGETHER_MIB = 90;
const SETTLED_MS = 2000;

/** Measures the rows of the busiest node. */
export async function measureBusiest(bench: Bench): Promise<Result> {
  return { rows: [...await measureNft(bench), ...await measureLegacy(bench), ...await measureMemory(bench)] };
}

/** A node with everything but the daemon. */
export async function busiestNode(backend: Backend): Promise<Node> {
  const node = await Node.create();
  await addKubelet(node, backend);
  await addServices(node, backend, SERVICES);
  return node;
}

/** A row of losses, which says how many were not over in time. */
function lossRow(what: string, times: readonly number[], patience: number, wanted: Wanted): Row {
  const over = times.filter((ms) => ms >= patience).length;
  const note = over === 0 ? "" : `${over} not back in ${patience / 1000} s`;
  return row(`busiest node: ${what}`, "ms", times, wanted, note);
}

async function measureNft(bench: Bench): Promise<Row[]> {
  await using node = await busiestNode("nft");
  const rows = [
    ...await measurePass(bench, node, "nft", 1.2),
    await measureStart(bench, node),
    ...await measureRest(bench, node),
  ];
  {
    await using _ = new Churn(node);
    rows.push(...await measureChurn(bench, node));
  }
  return [...rows, await measureReload(bench, node)];
}

/** One process, beside one on an empty node. */
async function measurePass({ programs, quick }: Bench, node: Node, backend: Backend, times: number): Promise<Row[]> {
  await using other = await Node.create();
  await addKubelet(other, backend);
  const argv = [...programs.ours, ...FLAGS, "--daemon=false"];
  await succeed(node, argv);
  await succeed(other, argv);
  const pairs = await repeat(
    quick ? 5 : 40,
    async () => [await succeed(node, argv), await succeed(other, argv)] as const,
  );
  const [here, there] = [pairs.map(([{ ms }]) => ms), pairs.map(([, { ms }]) => ms)];
  const what = `busiest node, ${backend}: one pass, back end auto`;
  return [
    row(`${what}: whole process`, "ms", here),
    row(`${what}: in those of an empty node`, "x", ratios(here, there), { p50: times }),
  ];
}

async function measureStart({ programs, random, quick }: Bench, node: Node): Promise<Row> {
  const patience = patienceOf(quick);
  const times = await repeat(quick ? 2 : 10, async () => {
    await clear(node);
    await using victim = Victim.start(node, programs.ours);
    await victim.ready();
    await delay(random.between(SOON.least, SOON.most));
    return await victim.lose("rule", { patience });
  });
  return lossRow("rule lost 0.5 to 1.5 s after the set-up", times, patience, { worst: 2000 });
}

async function measureRest({ programs, random, quick }: Bench, node: Node): Promise<Row[]> {
  const patience = patienceOf(quick);
  await using victim = Victim.start(node, programs.ours);
  await victim.ready();
  await victim.listening(quick ? 5000 : 15_000);
  await delay(SETTLED_MS);
  const measure = async (what: string, kind: Kind, count: number, wanted: Wanted) => {
    const options = { count: quick ? 4 : count, random, pause: 200, patience };
    return lossRow(`${what}, foreign rules at rest`, await loseByTurns([victim], kind, options), patience, wanted);
  };
  return [
    await measure("rule lost", "rule", 40, { p50: 5, worst: 100 }),
    await measure("address lost", "address", 40, { p50: 1, p99: 6 }),
    await measure("all rules lost", "rules", 20, { p50: 6, worst: 100 }),
  ];
}

async function measureChurn({ programs, random, quick }: Bench, node: Node): Promise<Row[]> {
  const patience = patienceOf(quick);
  const what = "a foreign one added every 0.1 s";
  const first = await repeat(quick ? 2 : 10, async () => {
    await clear(node);
    const started = performance.now();
    await using victim = Victim.start(node, programs.ours);
    return await victim.ready(patience) ? performance.now() - started : patience;
  });
  await using victim = Victim.start(node, programs.ours);
  await victim.ready();
  await delay(SETTLED_MS);
  const load = await repeat(quick ? 1 : 4, () => victim.daemon.load(() => delay(quick ? 4000 : 15_000)));
  const lost = await loseByTurns([victim], "rule", { count: quick ? 3 : 20, random, pause: 200, patience });
  return [
    lossRow(`first set-up, ${what}`, first, patience, { worst: 1000 }),
    row(`busiest node: CPU of a core, ${what}`, "%", load, { worst: 2 }),
    lossRow(`rule lost, ${what}`, lost, patience, { p50: 500, worst: 2000 }),
  ];
}

async function measureReload({ programs, quick }: Bench, node: Node): Promise<Row> {
  const patience = patienceOf(quick);
  const saved = `${savedServices(SERVICES)}*raw\nCOMMIT\n*filter\nCOMMIT\n`;
  const times = await repeat(quick ? 1 : 5, async () => {
    await using victim = Victim.start(node, programs.ours);
    await victim.ready();
    await victim.listening(quick ? 5000 : 15_000);
    await node.run(["iptables-nft-restore"], saved);
    return await victim.back(patience);
  });
  return lossRow("rules back after a reload of 40,000 older ones", times, patience, { worst: 2000 });
}

/** How long a loss is waited for; the poll of each minute would end it in the end. */
function patienceOf(quick: boolean): number {
  return quick ? 3000 : 20_000;
}

async function measureLegacy(bench: Bench): Promise<Row[]> {
  const { programs: { ours }, random, quick } = bench;
  await using node = await busiestNode("legacy");
  const passes = await measurePass(bench, node, "legacy", 1.3);
  await using victim = Victim.start(node, ours, "legacy");
  await victim.ready();
  await delay(SETTLED_MS);
  const losses = await repeat(quick ? 2 : 20, async (turn) => {
    await delay(random.between(0, quick ? 1000 : 5000));
    return await victim.lose("rule", { turn });
  });
  return [...passes, row("busiest node, legacy: rule lost", "ms", losses, { p50: 500 })];
}

/** The most memory from the start on, until a monitor that loads the rules has loaded them or was ended. */
async function measureMemory({ programs: { ours }, quick }: Bench): Promise<Row[]> {
  return await repeat(quick ? 1 : 3, async (i) => {
    const count = [20_000, 50_000, 100_000][i]!;
    await using node = await Node.create();
    await addKubelet(node, "nft");
    await addRules(node, count);
    await using daemon = Daemon.start(node, ours);
    const peak = await daemon.peak(delay(quick ? 4000 : 30_000));
    const what = `memory of program and children, ${count.toLocaleString("en")} foreign rules, at most`;
    return row(what, "MiB", [peak], { worst: TOGETHER_MIB });
  });
}

/** Takes away what an earlier daemon left. */
async function clear(node: Node): Promise<void> {
  await node.run(["ip", "-force", "-batch", "-"], `address flush dev lo to ${ADDRESS}\n`);
  await node.run(["sh", "-c", "iptables-nft -t raw -F && iptables-nft -F"]);
}

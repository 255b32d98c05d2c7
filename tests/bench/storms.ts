/**
 * What the events of others cost a daemon, and how soon it puts something back that is lost at the end of a storm.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import type { Bench, Result } from "./bench.ts";
import { addKubelet, addRules, passPods, rewriteRules } from "./foreign.ts";
import { Victim } from "./losses.ts";
import { Node } from "./node.ts";
import { type Row, row, type Wanted } from "./rows.ts";

const SETTLED_MS = 3000;
const REWRITTEN = 20_000;
const EVERY_MS = 5000;
/** A loss in the last event of a storm is repaired in that time. */
const PATIENCE_MS = 10_000;
const AFTERWARDS: Wanted = { worst: 2000 };

/** Measures the rows of storms. */
export async function measureStorms({ programs: { ours }, quick }: Bench): Promise<Result> {
  const pods = quick ? 25 : 500;
  return {
    rows: [
      ...await storm("100,000 rules in one transaction", (node) => addRules(node, 100_000)),
      ...await storm(`${pods} pods created and removed`, (node) => passPods(node, pods)),
      await rewriting(),
    ],
  };

  /** The daemon with a victim's probe, on a node where the storm breaks out. */
  async function storm(what: string, blow: (node: Node) => Promise<void>): Promise<Row[]> {
    await using node = await Node.create();
    await addKubelet(node, "nft");
    await using victim = Victim.start(node, ours);
    await victim.ready();
    await delay(SETTLED_MS);
    const before = await victim.daemon.cpu();
    const peak = await victim.daemon.peak(blow(node));
    const back = await victim.lose("rule", { patience: PATIENCE_MS });
    await delay(SETTLED_MS);
    const used = await victim.daemon.cpu() - before;
    return [
      row(`storm of ${what}: CPU of the daemon for all of it`, "ms", [used], { worst: 1000 }),
      row(`storm of ${what}: memory of program and children, at most`, "MiB", [peak], { worst: 90 }),
      row(`storm of ${what}: rule lost at its end`, "ms", [back], AFTERWARDS, back < PATIENCE_MS ? "" : "not back"),
    ];
  }

  async function rewriting(): Promise<Row> {
    await using node = await Node.create();
    await addKubelet(node, "nft");
    await addRules(node, REWRITTEN);
    await using victim = Victim.start(node, ours);
    await victim.ready();
    await victim.listening(5000);
    const stop = new AbortController();
    const rewritten = rewriteRules(node, REWRITTEN, EVERY_MS, stop.signal);
    const load = await victim.daemon.load(() => delay((quick ? 2 : 12) * EVERY_MS));
    stop.abort();
    await rewritten;
    return row("20,000 foreign rules rewritten every 5 s: CPU of a core", "%", [load], { worst: 2 });
  }
}

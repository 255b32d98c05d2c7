import { assertEquals, assertNotEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import type { clientsOf, Cluster } from "../cluster.ts";
import { batch } from "../host.ts";
import { sum, type Tally } from "../load.ts";
import { ADDRESSES } from "../topology.ts";
import { each } from "./each.ts";
import { assertAnswered, type Context, dump, type Phase, tallyText } from "./phase.ts";

const ASKING_MS = 1000;
/** How long requests have that are to fail, which is what clients begin with, and the others. */
const PATIENCE_MS = { failing: 2000, other: 15_000 } as const;

/** Without the program no request is answered: it is not something else that answers the others. */
export const without: Phase = {
  title: "Without the program",
  async run(context) {
    const { cluster, say } = context;
    await assertNobodyAnswers(context, "neither address nor rules");

    const keep = (what: "add" | "del") =>
      each(
        cluster.nodes,
        ({ host }) =>
          batch(
            [`address ${what} ${ADDRESSES.v4}/32 dev lo`, `address ${what} ${ADDRESSES.v6}/128 dev lo nodad`],
            host,
          ),
      );
    await keep("add");
    await each(cluster.nodes, ({ proxy }) => proxy.start());
    await cluster.patience(PATIENCE_MS.other, ({ clients }) => [clients.own]);
    await cluster.report();
    await delay(ASKING_MS);
    const [own, pods] = await Promise.all([
      reportOf(cluster, ({ clients }) => [clients.own]),
      reportOf(cluster, ({ clients }) => clients.pods),
    ]);
    assertAnswered(own, { broken: true, lost: true });
    assertEquals(pods.failed.length, pods.asked, "Requests of pods that failed, of those that were made");
    say(`the address and a proxy, but no rules: nodes: ${tallyText(own)}`);
    say(`the address and a proxy, but no rules: pods: ${tallyText(pods)}`);
    await each(cluster.nodes, ({ proxy }) => proxy.stop());
    await keep("del");
  },
};

/** The program and the proxy start, and from then on all is answered. */
export const start: Phase = {
  title: "The program starts: an init run, the proxy, the daemon",
  async run({ cluster, say }) {
    await cluster.patience(PATIENCE_MS.other);
    const started = performance.now();
    await each(cluster.nodes, async ({ sidecar, proxy }) => {
      await sidecar.init();
      await proxy.start();
      await sidecar.start();
    });
    say(`ready on ${cluster.nodes.length} nodes after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    assertAnswered(await settled(cluster));
  },
};

/** What the program left is removed, and no request is answered any more. */
export const removed: Phase = {
  title: "Stopped and cleaned up",
  async run(context) {
    const { cluster, say } = context;
    await cluster.patience(PATIENCE_MS.failing);
    const before = await each(cluster.nodes, ({ host }) => dump(host));
    await each(cluster.nodes, ({ sidecar }) => sidecar.remove());
    const after = await each(cluster.nodes, ({ host }) => dump(host));
    for (const [i, lines] of after.entries()) {
      const isOurs = (line: string) => Object.values(ADDRESSES).some((ip) => line.split(" ").includes(ip));
      assertNotEquals(before[i]!.filter(isOurs), []);
      assertEquals(lines, before[i]!.filter((line) => !isOurs(line)));
    }
    say("addresses and rules are gone, the node's firewall is as it was");
    await assertNobodyAnswers(context, "the proxy still listens");
  },
};

async function assertNobodyAnswers({ cluster, say }: Context, why: string): Promise<void> {
  await cluster.report();
  await delay(ASKING_MS);
  const tally = await cluster.report();
  assertNotEquals(tally.asked, 0);
  assertEquals(tally.failed.length, tally.asked, `Requests that failed, of those that were made: ${tallyText(tally)}`);
  say(`${why}: ${tallyText(tally)}`);
}

/** What was found in a moment that began with no request on its way. */
async function settled(cluster: Cluster): Promise<Tally> {
  await cluster.report();
  await delay(ASKING_MS);
  return await cluster.report();
}

async function reportOf(cluster: Cluster, which: typeof clientsOf): Promise<Tally> {
  return sum(await Promise.all(cluster.nodes.flatMap(which).map((client) => client.report())));
}

import { assert, AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";
import type { Random } from "../../support/random.ts";
import type { ClusterNode } from "../cluster.ts";
import { FAMILIES, firewall } from "../firewall.ts";
import type { Host } from "../host.ts";
import { Probe } from "../load.ts";
import { type Outage, percentile } from "../outage.ts";
import { ADDRESSES } from "../topology.ts";
import { assertAnswered, type Context, type Phase, table, tallyText, troubleText, whole } from "./phase.ts";

/** Something that is lost on a node. */
interface Loss {
  readonly kind: "address" | "ACCEPT rules" | "NOTRACK rules";
  readonly family: "v4" | "v6";
  strike(host: Host): Promise<unknown>;
}

const LOSSES: readonly Loss[] = FAMILIES.flatMap((family): Loss[] => {
  const { key, iptables } = family;
  const address = `${ADDRESSES[key]}/${key === "v4" ? 32 : 128}`;
  return [
    { kind: "address", family: key, strike: (host) => host.ok(["ip", "address", "del", address, "dev", "lo"]) },
    {
      kind: "ACCEPT rules",
      family: key,
      strike: (host) => host.ok([`${iptables}-restore`], { stdin: firewall(family) }),
    },
    { kind: "NOTRACK rules", family: key, strike: (host) => host.ok([iptables, "-t", "raw", "-F"]) },
  ];
});

/** More losses of an item within {@linkcode PEACE_MS} make a fight, in which repairs get pauses. */
const PEACEFUL_LOSSES = 4;
const PEACE_MS = 10_500;
/** Between two tries to connect: ours is a matter of milliseconds, and those of a poll have to be bounded in number. */
const EVERY_MS = { ours: 1, polling: 20 } as const;
/** Of so many losses not more may make a request fail: a few milliseconds long, they are to be missed by most. */
const MOST_FAILED = 0.1;
/** Tries before the loss, and after the repair. */
const MARGIN_MS = 30;

/** An outage and what it was of. */
interface Sample extends Outage {
  readonly kind: Loss["kind"];
}

/** Outages of the program that watches, and of one that polls, side by side. */
export function losses(rounds: number, poll: string): Phase {
  return {
    title: "Address and rules are lost on every node, at random",
    async run(context) {
      const { cluster, say } = context;
      await using stack = new AsyncDisposableStack();
      const probes = new Map(
        cluster.nodes.map((node) => [node, node.pods.map((pod) => stack.use(new Probe(pod)))]),
      );
      await cluster.report();
      const ours = await watching(context, probes, rounds);
      const watched = await cluster.report();
      say(`watching: ${tallyText(watched)}`);
      assertAnswered(watched, { failed: true, lost: true });
      // A connection that is made on the node itself while the address is away can fail at once.
      assert(watched.failed.length < MOST_FAILED * ours.length, watched.failed.map(troubleText).join("\n"));

      for (const { sidecar } of cluster.nodes) await sidecar.upgrade("--watch=false", `--sync-interval=${poll}`);
      await cluster.report();
      const polled = (await Promise.all(
        [...probes].map(([node, probes]) => polling(node, probes, { random: context.random, poll: secondsOf(poll) })),
      )).flat();
      say(`polling each ${poll}: ${tallyText(await cluster.report())}`);
      for (const { sidecar } of cluster.nodes) await sidecar.upgrade();

      const rows = [...rowsOf("watching", ours), ...rowsOf(`polling each ${poll}`, polled)];
      const [quick, slow] = [ours, polled].map((samples) => percentile(samples.map(({ ms }) => ms), 0.99));
      assert(quick! < slow!, `Watching has longer outages than polling: ${quick} ms against ${slow} ms`);
      say(table([["outage seen by a pod, ms", "losses", "noticed", "tries each", "p50", "p99", "max"], ...rows]));
    },
  };
}

/** Loses one thing after another, in an order that is different for each node. */
async function watching(
  { cluster, random, signal }: Context,
  probes: ReadonlyMap<ClusterNode, readonly Probe[]>,
  rounds: number,
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    if (round > 0 && round % PEACEFUL_LOSSES === 0) await delay(PEACE_MS, { signal });
    for (const { node, loss } of shuffled(cluster.nodes, random)) {
      signal.throwIfAborted();
      const probe = random.pick(probes.get(node)!);
      samples.push(await sample(node, loss, { probe, every: EVERY_MS.ours }));
    }
  }
  return samples;
}

/** In each of two intervals, loses an address and rules at a random time. */
async function polling(
  node: ClusterNode,
  probes: readonly Probe[],
  { random, poll }: { readonly random: Random; readonly poll: number },
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round < 2; round++) {
    const family = random.pick(["v4", "v6"] as const);
    const pair = LOSSES.filter((loss) =>
      loss.kind === "address" ? loss.family === family : loss.kind === "ACCEPT rules" && loss.family !== family
    );
    samples.push(
      ...await Promise.all(pair.map(async (loss, i) => {
        await delay(random.below(1000 * poll));
        return await sample(node, loss, { probe: probes[i]!, every: EVERY_MS.polling });
      })),
    );
  }
  return samples;
}

async function sample(
  node: ClusterNode,
  { kind, family, strike }: Loss,
  { probe, every }: { readonly probe: Probe; readonly every: number },
): Promise<Sample> {
  await probe.watch(ADDRESSES[family], every);
  await delay(MARGIN_MS);
  await strike(node.host);
  await whole(node, Math.max(MARGIN_MS, 10 * every));
  await delay(Math.max(MARGIN_MS, 2 * every));
  const outage = await probe.stop();
  if (!outage.over) throw new AssertionError(`${node.place.name} has its ${kind} again, but no answer from its pod`);
  return { kind, ...outage };
}

function shuffled(nodes: readonly ClusterNode[], random: Random): { node: ClusterNode; loss: Loss }[] {
  const left = nodes.flatMap((node) => LOSSES.map((loss) => ({ node, loss })));
  const order: typeof left = [];
  while (left.length > 0) order.push(...left.splice(random.below(left.length), 1));
  return order;
}

function rowsOf(how: string, samples: readonly Sample[]): string[][] {
  const kinds = [...new Set(LOSSES.map(({ kind }) => kind))].filter((kind) => samples.some((it) => it.kind === kind));
  return kinds.map((kind) => {
    const times = samples.filter((it) => it.kind === kind).map(({ ms }) => ms);
    const tried = percentile(samples.filter((it) => it.kind === kind).map(({ every }) => every), 0.5);
    const figures = [tried, percentile(times, 0.5), percentile(times, 0.99), Math.max(...times)];
    const noticed = times.filter((ms) => ms > 0).length;
    return [`${how}: ${kind}`, String(times.length), String(noticed), ...figures.map((ms) => ms.toFixed(1))];
  });
}

/** The seconds of a duration such as 10s or 1m. */
function secondsOf(duration: string): number {
  const [, number, unit] = duration.match(/^(\d+)([sm])$/) ?? [];
  return Number(number) * (unit === "m" ? 60 : 1);
}

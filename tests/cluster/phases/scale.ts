import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import type { Cluster } from "../cluster.ts";
import { percentile } from "../outage.ts";
import { Prometheus } from "../prometheus.ts";
import { type Resources, resourcesOf } from "../resources.ts";
import { each } from "./each.ts";
import { assertAnswered, type Phase, table, tallyText } from "./phase.ts";

/** After the start, before what is taken is compared: two checks of everything, which start what is kept between them. */
const WARM_UP_MS = 150_000;
const SCRAPE_SECONDS = 15;
/** What a node may take more at the end than in the middle of the time: V8 lets its heap grow for some time before it collects. */
const GROWTH = { rss: 8, descriptors: 0, processes: 0 } as const;
const SECONDS_PER_DAY = 86_400;
const ESTIMATED_NODES = 10_000;

/** A cluster in which nothing happens, for long: what the program takes, and that it takes no more at the end. */
export function scale(minutes: number): Phase {
  return {
    title: `Nothing happens for ${minutes} minutes, at default intervals`,
    async run(context) {
      const { cluster, say, signal } = context;
      await using prometheus = await Prometheus.start({
        directory: cluster.directory,
        places: cluster.nodes.map(({ place }) => place),
        interval: SCRAPE_SECONDS,
        haste: 1,
      });
      await delay(WARM_UP_MS, { signal });
      await cluster.report();
      const before = await look(cluster);
      const started = performance.now();
      let middle = before;
      for (let minute = 0; minute < minutes;) {
        minute = Math.min(minutes, minute + 5);
        await delay(Math.max(0, started + minute * 60_000 - performance.now()), { signal });
        const now = await look(cluster);
        if (2 * minute <= minutes) middle = now;
        say(`minute ${minute}: ${progress(now)}`);
      }
      const seconds = (performance.now() - started) / 1000;
      const after = await look(cluster);
      const tally = await cluster.report();
      say(tallyText(tally));
      say(figures(before, after, seconds));
      say(await estimate(prometheus, { cluster, before, after, seconds }));
      assertAnswered(tally);
      assertEquals(await prometheus.history(), [], "Alerts that fired");
      for (const [i, { place }] of cluster.nodes.entries()) {
        for (const [what, most] of Object.entries(GROWTH)) {
          const [from, to] = [middle, after].map((all) => all[i]![what as keyof typeof GROWTH]);
          assert(to! - from! <= most, `${place.name}: ${what} grew from ${from} to ${to}`);
        }
      }
    },
  };
}

function look({ nodes }: Cluster): Promise<readonly Resources[]> {
  return each(nodes, ({ sidecar }) => resourcesOf(sidecar.service.pid));
}

function progress(now: readonly Resources[]): string {
  const middle = (what: keyof Resources) => percentile(now.map((it) => it[what]), 0.5);
  return `in the middle a node has ${middle("processes")} processes, ${middle("descriptors")} descriptors, ${
    middle("rss").toFixed(1)
  } MiB RSS (${middle("anonymous").toFixed(1)} anonymous), ${middle("cpu").toFixed(2)} s of CPU since its start`;
}

function figures(before: readonly Resources[], after: readonly Resources[], seconds: number): string {
  const row = (title: string, values: readonly number[], digits: number) => [
    title,
    ...[0, 0.5, 0.99, 1].map((share) => percentile(values, share).toFixed(digits)),
  ];
  const both = (title: string, what: keyof Resources, digits: number) => [
    row(`${title}, at the beginning`, before.map((it) => it[what]), digits),
    row(`${title}, at the end`, after.map((it) => it[what]), digits),
  ];
  return table([
    ["of each node", "least", "p50", "p99", "most"],
    row("CPU, ms a minute", after.map(({ cpu }, i) => (cpu - before[i]!.cpu) * 60_000 / seconds), 1),
    ...both("RSS, MiB", "rss", 1),
    ...both("PSS, MiB", "pss", 1),
    ...both("anonymous memory, MiB", "anonymous", 1),
    ...both("file descriptors", "descriptors", 0),
    ...both("processes", "processes", 0),
  ]);
}

interface Measured {
  readonly cluster: Cluster;
  readonly before: readonly Resources[];
  readonly after: readonly Resources[];
  readonly seconds: number;
}

async function estimate(prometheus: Prometheus, { cluster, before, after, seconds }: Measured): Promise<string> {
  const count = cluster.nodes.length;
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const cpu = mean(after.map(({ cpu }, i) => cpu - before[i]!.cpu)) / seconds;
  const series = await prometheus.figure("prometheus_tsdb_head_series") || NaN;
  const perNode = await prometheus.figure(`sum(scrape_samples_post_metric_relabeling) / ${count}`);
  const own = await resourcesOf(prometheus.pid);
  return [
    `Prometheus: ${perNode.toFixed(0)} series of each node, ${own.rss.toFixed(0)} MiB RSS for all${
      Number.isNaN(series) ? "" : ` ${series}`
    }`,
    `on paper, ${ESTIMATED_NODES} nodes: ${Math.round(cpu * SECONDS_PER_DAY * ESTIMATED_NODES)} CPU seconds a day (${
      (cpu * ESTIMATED_NODES).toFixed(1)
    } cores of all), ${Math.round(mean(after.map(({ rss }) => rss)) * ESTIMATED_NODES / 1024)} GiB RSS (${
      Math.round(mean(after.map(({ anonymous }) => anonymous)) * ESTIMATED_NODES / 1024)
    } GiB anonymous), ${Math.round(perNode * ESTIMATED_NODES)} series, ${
      Math.round(perNode * ESTIMATED_NODES / SCRAPE_SECONDS)
    } samples a second at a scrape each ${SCRAPE_SECONDS} s`,
  ].join("\n");
}

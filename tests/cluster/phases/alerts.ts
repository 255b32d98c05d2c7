import { assert, assertEquals } from "@std/assert";
import { panelQueries, readDashboard, variableQueries } from "../dashboard.ts";
import { type Firing, instanceOf, Prometheus } from "../prometheus.ts";
import { ADDRESSES } from "../topology.ts";
import { type Context, type Phase, whole } from "./phase.ts";
import { until } from "../until.ts";

/** Time runs so many times faster for the rules, and for the program's checks, lest it seem to stand still. */
const HASTE = 30;
const SYNC_INTERVAL = "2s";
const SCRAPE_SECONDS = 1;
/** More repairs in an hour are drift; that there are so many in a fight must not raise that alert too. */
const DRIFT = 20;
const WAITING = { every: 500, patience: 120_000 } as const;
/**
 * Takes the addresses away again and again, but not while it has its pause of a second: one that does has them away for most of
 * the time, which is an outage, and the alert for that fires too.
 */
const THIEF = `while :; do
  ip address del ${ADDRESSES.v4}/32 dev lo 2> /dev/null
  ip address del ${ADDRESSES.v6}/128 dev lo 2> /dev/null
  sleep 1.2
done`;
/** Series that releases before them do not have: the dashboard may ask for them in vain. */
const YOUNG = /watcher_listening|watcher_lost_events_total/;

/** Something keeps taking the address away on one node: the right alert fires for it, and no other, anywhere. */
export const alerts: Phase = {
  title: "Something keeps taking the address away on one node; Prometheus scrapes all",
  async run(context) {
    const { cluster: { nodes, directory }, say } = context;
    const victim = nodes[0]!;
    const instance = instanceOf(victim.place);
    for (const { sidecar } of nodes) await sidecar.upgrade(`--sync-interval=${SYNC_INTERVAL}`);
    await using prometheus = await Prometheus.start({
      directory,
      places: nodes.map(({ place }) => place),
      interval: SCRAPE_SECONDS,
      haste: HASTE,
    });
    const thief = victim.host.spawn(["sh", "-c", THIEF]);
    try {
      await until(async () => {
        const repairs = `sum(apiserver_proxy_sidecar_repairs_total{instance="${instance}", cause!="start"})`;
        assert(await prometheus.figure(repairs) > DRIFT + 5, "There were not enough repairs");
        assert((await prometheus.history()).length > 0, "No alert fires");
      }, WAITING);
    } finally {
      thief.kill("SIGKILL");
      await thief.status;
    }
    await until(async () => {
      assertEquals(await prometheus.query('ALERTS{alertstate="firing"}'), [], "Alerts that fire still");
    }, WAITING);
    await whole(victim);
    const history = await prometheus.history();
    for (const firing of history) say(firingText(firing));
    assertEquals(history.map(({ name, instance }) => ({ name, instance })), [
      { name: "ApiserverProxySidecarFight", instance },
    ]);
    await assertDashboard(prometheus, context);
    for (const { sidecar } of nodes) await sidecar.upgrade();
  },
};

async function assertDashboard(prometheus: Prometheus, { cluster, say }: Context): Promise<void> {
  const dashboard = await readDashboard();
  const queries = panelQueries(dashboard, "1m");
  assert(queries.length > 0, "The dashboard has no queries");
  for (const { title, expr } of queries) {
    const answer = await prometheus.query(expr);
    assert(answer.length > 0 || YOUNG.test(expr), `The panel "${title}" is empty: ${expr}`);
  }
  for (const { name, label, match } of variableQueries(dashboard)) {
    const values = await prometheus.labelValues(label, match);
    assertEquals(values.length, name === "instance" ? cluster.nodes.length : 1, `Values of $${name}`);
  }
  say(`all ${queries.length} queries of the dashboard have an answer`);
}

function firingText({ name, instance, from, to }: Firing): string {
  return `${name} fired for ${instance} from ${from} s to ${to} s`;
}

import { assertEquals } from "@std/assert";
import { Exposition } from "../../lib/report/exposition.ts";
import { prometheusObstacle, promtool } from "../support/prometheus.ts";

/** A page with a metric of each kind, some of it changed. */
function page(): Exposition {
  const page = new Exposition("x_");
  const visits = page.counter("visits_total", "Visits.", { from: ["here", "there"], result: ["ok", "failed"] });
  const open = page.gauge("open", "Doors that are open.", {});
  const stay = page.histogram("stay_seconds", "How long they stay.", { from: ["here", "there"] }, [0.5, 1]);
  visits({ result: "ok", from: "there" }, 1);
  visits({ result: "ok", from: "there" }, 2);
  open({}, 7);
  open({}, 3.5);
  for (const seconds of [0.25, 0.5, 0.75, 4]) stay({ from: "there" }, seconds);
  return page;
}

Deno.test("Exposition.text() has each combination of labels, in the order in which they were declared", () => {
  assertEquals(
    page().text(),
    `# HELP x_visits_total Visits.
# TYPE x_visits_total counter
x_visits_total{from="here",result="ok"} 0
x_visits_total{from="here",result="failed"} 0
x_visits_total{from="there",result="ok"} 3
x_visits_total{from="there",result="failed"} 0
# HELP x_open Doors that are open.
# TYPE x_open gauge
x_open 3.5
# HELP x_stay_seconds How long they stay.
# TYPE x_stay_seconds histogram
x_stay_seconds_bucket{from="here",le="0.5"} 0
x_stay_seconds_bucket{from="here",le="1"} 0
x_stay_seconds_bucket{from="here",le="+Inf"} 0
x_stay_seconds_sum{from="here"} 0
x_stay_seconds_count{from="here"} 0
x_stay_seconds_bucket{from="there",le="0.5"} 2
x_stay_seconds_bucket{from="there",le="1"} 3
x_stay_seconds_bucket{from="there",le="+Inf"} 4
x_stay_seconds_sum{from="there"} 5.5
x_stay_seconds_count{from="there"} 4
`,
  );
});

Deno.test("Exposition.text() escapes what would end a label or a line", () => {
  const page = new Exposition("x_");
  page.gauge("odd", 'A \\ and a "\n.', { label: ['a\\b"c\nd'] });
  assertEquals(
    page.text(),
    `# HELP x_odd A \\\\ and a "\\n.\n# TYPE x_odd gauge\nx_odd{label="a\\\\b\\"c\\nd"} 0\n`,
  );
});

Deno.test("Exposition.text() has a series that was not declared from its first change on", () => {
  const page = new Exposition("x_");
  const visits = page.counter("visits_total", "Visits.", { from: ["here"] });
  visits({ from: "afar" }, 1);
  assertEquals(page.text().split("\n").slice(2), [
    'x_visits_total{from="here"} 0',
    'x_visits_total{from="afar"} 1',
    "",
  ]);
});

const obstacle = prometheusObstacle();

Deno.test({
  name: `Exposition.text() is what Prometheus reads${obstacle === "" ? "" : ` (skipped: ${obstacle})`}`,
  ignore: obstacle !== "",
  async fn() {
    assertEquals(await promtool(["check", "metrics"], page().text()), { code: 0, said: "" });
    // promtool finds what is wrong.
    assertEquals((await promtool(["check", "metrics"], `${page().text()}x_open{a="b} 1\n`)).code, 1);
  },
});

import { assert, assertEquals } from "@std/assert";
import { panelQueries, readDashboard, variableQueries } from "./dashboard.ts";

Deno.test("grafana-dashboard.json has each panel once, in a place of its own", async () => {
  const { panels } = await readDashboard();
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, i) => `${x + i % w},${y + Math.floor(i / w)}`)
  );
  assertEquals(new Set(cells).size, cells.length);
});

Deno.test("grafana-dashboard.json asks for the job and the nodes that are chosen", async () => {
  const dashboard = await readDashboard();
  for (const { targets = [] } of dashboard.panels) {
    for (const { expr } of targets) {
      const series = expr.match(/apiserver_proxy_sidecar_\w+/g) ?? [];
      const chosen = expr.match(/apiserver_proxy_sidecar_\w+\{job=~"\$job", instance=~"\$instance"/g) ?? [];
      assert(chosen.length === series.length, expr);
    }
  }
  assertEquals(variableQueries(dashboard), [
    { name: "job", label: "job", match: "apiserver_proxy_sidecar_build_info" },
    { name: "instance", label: "instance", match: 'apiserver_proxy_sidecar_build_info{job=~".+"}' },
  ]);
  assert(panelQueries(dashboard, "1m").every(({ expr }) => !expr.includes("$")));
});

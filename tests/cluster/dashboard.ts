/**
 * Test equipment: what Grafana would ask Prometheus for the project's dashboard.
 *
 * @module
 */

/** A query of a panel, or of a variable. */
export interface DashboardQuery {
  /** The panel's title, or the variable's name. */
  readonly title: string;
  readonly expr: string;
}

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: string | object }[] };
}

const PATH = new URL("../../deploy/grafana-dashboard.json", import.meta.url);

/** The dashboard, as it is in the project. */
export async function readDashboard(): Promise<Dashboard> {
  return JSON.parse(await Deno.readTextFile(PATH));
}

/** The queries of all panels, with everything chosen in each variable. */
export function panelQueries({ panels }: Dashboard, rate: string): readonly DashboardQuery[] {
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({
      title,
      expr: expr.replaceAll("$__rate_interval", rate).replaceAll(/\$(job|instance)\b/g, ".+"),
    }))
  );
}

/** What the variables ask for: the label, and the series that have it. */
export function variableQueries(
  { templating }: Dashboard,
): readonly { readonly name: string; readonly label: string; readonly match: string }[] {
  return templating.list.flatMap(({ name, query }) => {
    const [, match, label] = String(query).match(/^label_values\((.+), *(\w+)\)$/) ?? [];
    return match === undefined || label === undefined ? [] : [{ name, label, match: match.replaceAll("$job", ".+") }];
  });
}

/**
 * Test equipment: what a bundle of the metrics does by itself; see metrics_test.ts.
 *
 * @module
 */
import { Metrics } from "../../lib/report/metrics.ts";
import { configOf } from "./reports.ts";

const before = "require" in globalThis;
const metrics = await Metrics.load(configOf("--setup-iptables"), { now: () => 0 });
await metrics.page();
// deno-lint-ignore no-console
if (!before && !("require" in globalThis)) console.log("No require before, none after");

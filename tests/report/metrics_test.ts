import { assertEquals, assertMatch } from "@std/assert";
import type { Cause } from "../../lib/reconcile/observer.ts";
import type { CommandResult } from "../../lib/node/process.ts";
import { CommandError, type FailureKind } from "../../lib/node/command_error.ts";
import { Metrics } from "../../lib/report/metrics.ts";
import { ItemStates } from "../../lib/report/item_states.ts";
import type { Config } from "../../lib/config/config.ts";
import { prometheusObstacle, promtool } from "../support/prometheus.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { configOf, itemsOf, reportOf } from "../support/reports.ts";

const config = configOf("--setup-iptables", "--iptables-mode=nft");
const ALL = { link: {}, address: {}, rule: {} };
const UNIX_NOW = () => 1_700_000_000_500;

/** Metrics, and what tells them and the states of a pass. */
function metricsOf(config: Config, now = () => 0) {
  const states = new ItemStates(itemsOf(config));
  const metrics = new Metrics(config, { states, clock: { now }, unixNow: UNIX_NOW });
  const onPass = (report: Report, cause: Cause, at = 0) => {
    for (const observer of [states, metrics]) observer.onPass(report, { cause, at });
  };
  return { metrics, onPass };
}

/** The series that are not 0, without the buckets of histograms, the program's prefix and the build. */
function series(metrics: Metrics): string[] {
  return metrics.text().split("\n")
    .filter((line) => line !== "" && !/^#|_bucket\{| 0$|build_info/.test(line))
    .map((line) => line.replace("apiserver_proxy_sidecar_", ""));
}

/** The page with its numbers left out: which series there are. */
function names(metrics: Metrics): string {
  return metrics.text().replaceAll(/ \S+$/gm, "");
}

function result(argv: readonly string[], duration: number, kind?: FailureKind): CommandResult {
  const error = kind && new CommandError(argv, { kind, said: "" });
  return { argv, stdout: "", stderr: "", duration, error };
}

const WANTED = ['wanted_items{kind="link"} 1', 'wanted_items{kind="address"} 1', 'wanted_items{kind="rule"} 5'];

Deno.test("Metrics.text() has every series from the start, at 0, and gets no new ones", () => {
  const { metrics, onPass } = metricsOf(config);
  const before = names(metrics);
  assertEquals(series(metrics), WANTED);
  for (const cause of ["start", "interval", "retry", "event", "poll", "signal"] as const) {
    onPass(reportOf(config, { link: { before: "missing" } }), cause);
    onPass(reportOf(config, { address: { after: "missing" } }), cause);
  }
  for (const program of ["ip", "iptables-nft-restore"]) {
    onPass({ ...reportOf(config, {}), commands: [result([program], 1), result([program], 1, "locked")] }, "start");
  }
  for (const program of ["ip", "nft", "xtables-monitor"] as const) {
    for (const kind of ["listening", "deaf", "restarted", "lost-events"] as const) metrics.onWatcher({ program, kind });
  }
  assertEquals(names(metrics), before);
});

Deno.test("Metrics.text() names the build", () => {
  const page = metricsOf(config).metrics.text();
  assertMatch(page, /^apiserver_proxy_sidecar_build_info\{version="[\d.]+",commit="\w+",deno="[\d.]+"\} 1$/m);
});

Deno.test("Metrics counts the programs and watchers that the command line leads to", () => {
  const programs = (...argv: string[]) => {
    const page = metricsOf(configOf(...argv)).metrics.text();
    const label = (name: string) =>
      [...page.matchAll(new RegExp(`_${name}_total{program="(.*?)"`, "g"))].map(([, p]) => p);
    return { commands: [...new Set(label("commands"))], watchers: label("watcher_restarts") };
  };
  assertEquals(programs(), { commands: ["ip"], watchers: ["ip"] });
  assertEquals(programs("--watch=false"), { commands: ["ip"], watchers: [] });
  assertEquals(programs("--setup-iptables", "--ip-address=fd00::2"), {
    commands: [
      "ip",
      "iptables-nft-restore",
      "ip6tables-nft-restore",
      "iptables-legacy-restore",
      "ip6tables-legacy-restore",
    ],
    watchers: ["ip", "nft", "xtables-monitor"],
  });
  assertEquals(programs("--setup-iptables", "--iptables-mode=legacy"), {
    commands: ["ip", "iptables-legacy-restore"],
    watchers: ["ip"],
  });
});

Deno.test("Metrics.onPass() counts passes, repairs and what is present", () => {
  const { metrics, onPass } = metricsOf(config);
  onPass(
    reportOf(config, { link: {}, address: { before: "missing" }, rule: { before: "missing", after: "missing" } }, 30),
    "start",
  );
  const start = [
    'present_items{kind="link"} 1',
    'present_items{kind="address"} 1',
    'passes_total{result="failed",cause="start"} 1',
    "pass_duration_seconds_sum 0.03",
    "pass_duration_seconds_count 1",
    'repairs_total{kind="address",cause="start"} 1',
  ];
  assertEquals(series(metrics), [...WANTED, ...start]);

  onPass(reportOf(config, { rule: { before: "surplus" } }, 10), "retry");
  assertEquals(series(metrics), [
    ...WANTED,
    ...start.slice(0, 2),
    'present_items{kind="rule"} 5',
    'passes_total{result="ok",cause="retry"} 1',
    'passes_total{result="failed",cause="start"} 1',
    "pass_duration_seconds_sum 0.04",
    "pass_duration_seconds_count 2",
    "last_success_timestamp_seconds 1700000000.5",
    'repairs_total{kind="address",cause="start"} 1',
    'repairs_total{kind="rule",cause="retry"} 5',
  ]);
});

Deno.test("Metrics.onPass() calls no pass a success that did not look at what is missing", () => {
  const { metrics, onPass } = metricsOf(config);
  onPass(reportOf(config, { ...ALL, rule: { after: "missing" } }), "start");
  onPass(reportOf(config, { address: {} }), "event");
  assertMatch(metrics.text(), /^apiserver_proxy_sidecar_last_success_timestamp_seconds 0$/m);
});

Deno.test("Metrics.onPass() measures from the event to the repair, and nothing for other causes", () => {
  let now = 1000;
  const { metrics, onPass } = metricsOf(config, () => now);
  const repair = reportOf(config, { address: { before: "missing" } });
  onPass(repair, "event", 998);
  now = 2000;
  onPass(repair, "interval", 0);
  onPass(reportOf(config, { address: {} }), "event", 0);
  const page = metrics.text();
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_bucket\{le="0.001"\} 0$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_bucket\{le="0.0025"\} 1$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_sum 0.002$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_count 1$/m);
});

Deno.test("Metrics.onPass() says how many items get pauses, until they do no more", () => {
  const { metrics, onPass } = metricsOf(config);
  onPass(reportOf(config, { rule: { damped: true } }), "event");
  assertMatch(metrics.text(), /^apiserver_proxy_sidecar_damped_items 5$/m);
  onPass(reportOf(config, { rule: {} }), "event");
  assertMatch(metrics.text(), /^apiserver_proxy_sidecar_damped_items 0$/m);
});

Deno.test("Metrics.onPass() counts commands and those that did not get the lock", () => {
  const { metrics, onPass } = metricsOf(config);
  const restore = ["iptables-nft-restore", "--noflush"];
  const commands = [
    result(["ip", "-batch", "-"], 2),
    result(["ip", "-batch", "-"], 6, "other"),
    result(restore, 5000, "locked"),
    result(restore, 1, "aborted"),
    result(restore, 1, "missing-program"),
  ];
  onPass({ ...reportOf(config, {}), commands }, "start");
  assertEquals(series(metrics).filter((line) => /^(command|lock)/.test(line)), [
    'commands_total{program="ip",result="ok"} 1',
    'commands_total{program="ip",result="failed"} 1',
    'commands_total{program="iptables-nft-restore",result="failed"} 1',
    'command_duration_seconds_sum{program="ip"} 0.008',
    'command_duration_seconds_count{program="ip"} 2',
    'command_duration_seconds_sum{program="iptables-nft-restore"} 5',
    'command_duration_seconds_count{program="iptables-nft-restore"} 1',
    "lock_waits_total 1",
  ]);
});

Deno.test("Metrics.onWatcher() tells who listens, who was started again and who lost events", () => {
  const { metrics } = metricsOf(config);
  metrics.onWatcher({ program: "ip", kind: "listening" });
  metrics.onWatcher({ program: "nft", kind: "listening" });
  metrics.onWatcher({ program: "nft", kind: "lost-events" });
  metrics.onWatcher({ program: "nft", kind: "deaf" });
  metrics.onWatcher({ program: "nft", kind: "restarted" });
  assertEquals(series(metrics).filter((line) => line.startsWith("watcher")), [
    'watcher_listening{program="ip"} 1',
    'watcher_lost_events_total{program="nft"} 1',
    'watcher_restarts_total{program="nft"} 1',
  ]);
});

const obstacle = prometheusObstacle();
const [ignore, skipped] = [obstacle !== "", obstacle === "" ? "" : ` (skipped: ${obstacle})`];

Deno.test({
  name: `Metrics.text() follows the conventions of Prometheus${skipped}`,
  ignore,
  async fn() {
    const { metrics, onPass } = metricsOf(config);
    for (let i = 0; i < 2; i++) {
      assertEquals(await promtool(["check", "metrics"], metrics.text()), { code: 0, said: "" });
      onPass(reportOf(config, { ...ALL, rule: { before: "missing" } }), "event");
    }
  },
});

const ALERTS = new URL("../../deploy/alerts.yaml", import.meta.url);

Deno.test({
  name: `alerts.yaml fires when it should, and not otherwise${skipped}`,
  ignore,
  async fn() {
    const { code, said } = await promtool(["test", "rules", new URL("alerts_test.yaml", import.meta.url).pathname]);
    assertEquals(code, 0, said);
    const checked = await promtool(["check", "rules", ALERTS.pathname]);
    assertEquals(checked.code, 0, checked.said);
  },
});

Deno.test("alerts.yaml asks for series that there are", async () => {
  const page = metricsOf(config).metrics.text();
  const asked = new Set((await Deno.readTextFile(ALERTS)).match(/apiserver_proxy_sidecar_\w+/g));
  const [first] = asked;
  assertEquals(first, "apiserver_proxy_sidecar_build_info");
  assertEquals([...asked].filter((name) => !new RegExp(`^${name}[{ ]`, "m").test(page)), []);
});

import { assertEquals, assertMatch } from "@std/assert";
import type { CommandResult } from "../../lib/node/process.ts";
import { CommandError, type FailureKind } from "../../lib/node/command_error.ts";
import { Metrics } from "../../lib/report/metrics.ts";
import { prometheusObstacle, promtool } from "../support/prometheus.ts";
import { configOf, reportOf } from "../support/reports.ts";

const config = configOf("--setup-iptables", "--iptables-mode=nft");
const ALL = { link: {}, address: {}, rule: {} };
const AT = { at: 0 };
const clocks = { now: () => 0, unixNow: () => 1_700_000_000_500 };

async function pageOf(metrics: Metrics): Promise<string> {
  return new TextDecoder().decode(await metrics.page());
}

/** The series that are not 0, without the buckets of histograms, the program's prefix and the build. */
async function series(metrics: Metrics): Promise<string[]> {
  return (await pageOf(metrics)).split("\n")
    .filter((line) => line !== "" && !/^#|_bucket\{| 0$|build_info/.test(line))
    .map((line) => line.replace("apiserver_proxy_sidecar_", ""));
}

/** The page with its numbers left out: which series there are. */
async function names(metrics: Metrics): Promise<string> {
  return (await pageOf(metrics)).replaceAll(/ \S+$/gm, "");
}

function result(argv: readonly string[], duration: number, kind?: FailureKind): CommandResult {
  const error = kind && new CommandError(argv, { kind, said: "" });
  return { argv, stdout: "", stderr: "", linesBefore: 0, duration, error };
}

const WANTED = ['wanted_items{kind="link"} 1', 'wanted_items{kind="address"} 1', 'wanted_items{kind="rule"} 5'];

Deno.test("Metrics.page() has every series from the start, at 0, and gets no new ones", async () => {
  const metrics = await Metrics.load(config, clocks);
  const before = await names(metrics);
  assertEquals(await series(metrics), WANTED);
  for (const cause of ["start", "interval", "retry", "event", "signal"] as const) {
    metrics.onPass(reportOf(config, { link: { before: "missing" } }), { ...AT, cause });
    metrics.onPass(reportOf(config, { address: { after: "missing" } }), { ...AT, cause });
  }
  for (const program of ["ip", "iptables-nft-restore", "iptables-nft-save", "iptables-legacy-save"]) {
    metrics.onCommand(result([program], 1));
    metrics.onCommand(result([program], 1, "locked"));
  }
  for (const program of ["ip", "nft"]) metrics.onWatcherRestart(program);
  assertEquals(await names(metrics), before);
});

Deno.test("Metrics.page() names the build", async () => {
  const page = await pageOf(await Metrics.load(config, clocks));
  assertMatch(page, /^apiserver_proxy_sidecar_build_info\{version="[\d.]+",commit="\w+",deno="[\d.]+"\} 1$/m);
});

Deno.test("Metrics counts the programs and watchers that the command line leads to", async () => {
  const programs = async (...argv: string[]) => {
    const page = await pageOf(await Metrics.load(configOf(...argv), clocks));
    const label = (name: string) =>
      [...page.matchAll(new RegExp(`_${name}_total{program="(.*?)"`, "g"))].map(([, p]) => p);
    return { commands: [...new Set(label("commands"))], watchers: label("watcher_restarts") };
  };
  assertEquals(await programs(), { commands: ["ip"], watchers: ["ip"] });
  assertEquals(await programs("--watch=false"), { commands: ["ip"], watchers: [] });
  assertEquals(await programs("--setup-iptables", "--ip-address=fd00::2"), {
    commands: [
      "ip",
      "iptables-nft-restore",
      "ip6tables-nft-restore",
      "iptables-legacy-restore",
      "ip6tables-legacy-restore",
      "iptables-nft-save",
      "ip6tables-nft-save",
      "iptables-legacy-save",
      "ip6tables-legacy-save",
    ],
    watchers: ["ip", "nft"],
  });
  assertEquals(await programs("--setup-iptables", "--iptables-mode=legacy"), {
    commands: ["ip", "iptables-legacy-restore", "iptables-nft-save", "iptables-legacy-save"],
    watchers: ["ip"],
  });
});

Deno.test("Metrics.onPass() counts passes, repairs and what is present", async () => {
  const metrics = await Metrics.load(config, clocks);
  metrics.onPass(
    reportOf(config, { link: {}, address: { before: "missing" }, rule: { before: "missing", after: "missing" } }, 30),
    { ...AT, cause: "start" },
  );
  const start = [
    'present_items{kind="link"} 1',
    'present_items{kind="address"} 1',
    'passes_total{result="failed",cause="start"} 1',
    "pass_duration_seconds_sum 0.03",
    "pass_duration_seconds_count 1",
    'repairs_total{kind="address",cause="start"} 1',
  ];
  assertEquals(await series(metrics), [...WANTED, ...start]);

  metrics.onPass(reportOf(config, { rule: { before: "surplus" } }, 10), { ...AT, cause: "retry" });
  assertEquals(await series(metrics), [
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

Deno.test("Metrics.onPass() calls no pass a success that did not look at what is missing", async () => {
  const metrics = await Metrics.load(config, clocks);
  metrics.onPass(reportOf(config, { ...ALL, rule: { after: "missing" } }), { ...AT, cause: "start" });
  metrics.onPass(reportOf(config, { address: {} }), { ...AT, cause: "event" });
  assertMatch(await pageOf(metrics), /^apiserver_proxy_sidecar_last_success_timestamp_seconds 0$/m);
});

Deno.test("Metrics.onPass() measures from the event to the repair, and nothing for other causes", async () => {
  let now = 1000;
  const metrics = await Metrics.load(config, { ...clocks, now: () => now });
  const repair = reportOf(config, { address: { before: "missing" } });
  metrics.onPass(repair, { ...AT, cause: "event", at: 998 });
  now = 2000;
  metrics.onPass(repair, { ...AT, cause: "interval", at: 0 });
  metrics.onPass(reportOf(config, { address: {} }), { ...AT, cause: "event", at: 0 });
  const page = await pageOf(metrics);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_bucket\{le="0.001"\} 0$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_bucket\{le="0.0025"\} 1$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_sum 0.002$/m);
  assertMatch(page, /^apiserver_proxy_sidecar_repair_latency_seconds_count 1$/m);
});

Deno.test("Metrics.onPass() says how many items get pauses, until they do no more", async () => {
  const metrics = await Metrics.load(config, clocks);
  metrics.onPass(reportOf(config, { rule: { damped: true } }), { ...AT, cause: "event" });
  assertMatch(await pageOf(metrics), /^apiserver_proxy_sidecar_damped_items 5$/m);
  metrics.onPass(reportOf(config, { rule: {} }), { ...AT, cause: "event" });
  assertMatch(await pageOf(metrics), /^apiserver_proxy_sidecar_damped_items 0$/m);
});

Deno.test("Metrics.onCommand() counts commands and those that did not get the lock, and no monitors", async () => {
  const metrics = await Metrics.load(config, clocks);
  metrics.onCommand(result(["ip", "-batch", "-"], 2));
  metrics.onCommand(result(["ip", "-batch", "-"], 6, "other"));
  metrics.onCommand(result(["iptables-nft-restore", "--noflush"], 5000, "locked"));
  metrics.onCommand(result(["ip", "-o", "monitor", "address", "link"], 9e6, "other"));
  metrics.onCommand(result(["nft", "monitor", "destroy"], 9e6));
  metrics.onCommand(result(["iptables-nft-restore", "--noflush"], 1, "aborted"));
  metrics.onCommand(result(["iptables-nft-restore", "--noflush"], 1, "missing-program"));
  metrics.onWatcherRestart("nft");
  assertEquals(await series(metrics), [
    ...WANTED,
    'commands_total{program="ip",result="ok"} 1',
    'commands_total{program="ip",result="failed"} 1',
    'commands_total{program="iptables-nft-restore",result="failed"} 1',
    'command_duration_seconds_sum{program="ip"} 0.008',
    'command_duration_seconds_count{program="ip"} 2',
    'command_duration_seconds_sum{program="iptables-nft-restore"} 5',
    'command_duration_seconds_count{program="iptables-nft-restore"} 1',
    "lock_waits_total 1",
    'watcher_restarts_total{program="nft"} 1',
  ]);
});

Deno.test("Metrics.page() is made once for all that ask between two changes", async () => {
  const metrics = await Metrics.load(config, clocks);
  const page = metrics.page();
  assertEquals(metrics.page() === page, true);
  metrics.onWatcherRestart("ip");
  assertEquals(metrics.page() === page, false);
  await Promise.all([page, metrics.page()]);
});

Deno.test("Metrics.load() works in a bundle for browsers, without any right, and leaves no trace", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const run = async (...args: string[]) => {
      const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      assertEquals(success, true, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout);
    };
    const bundle = `${directory}/bundle.js`;
    await run(
      "bundle",
      "--quiet",
      "--platform=browser",
      `--output=${bundle}`,
      new URL("../support/bundled.ts", import.meta.url).pathname,
    );
    assertEquals(await run("run", "--quiet", "--no-config", "--no-prompt", bundle), "No require before, none after\n");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

const obstacle = prometheusObstacle();
const [ignore, skipped] = [obstacle !== "", obstacle === "" ? "" : ` (skipped: ${obstacle})`];

Deno.test({
  name: `Metrics.page() follows the conventions of Prometheus${skipped}`,
  ignore,
  async fn() {
    const metrics = await Metrics.load(config, clocks);
    for (let i = 0; i < 2; i++) {
      assertEquals(await promtool(["check", "metrics"], await pageOf(metrics)), { code: 0, said: "" });
      metrics.onPass(reportOf(config, { ...ALL, rule: { before: "missing" } }), { ...AT, cause: "event" });
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
  const page = await pageOf(await Metrics.load(config, clocks));
  const asked = new Set((await Deno.readTextFile(ALERTS)).match(/apiserver_proxy_sidecar_\w+/g));
  const [first] = asked;
  assertEquals(first, "apiserver_proxy_sidecar_build_info");
  assertEquals([...asked].filter((name) => !new RegExp(`^${name}[{ ]`, "m").test(page)), []);
});

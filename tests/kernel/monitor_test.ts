import { assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { desired } from "../../lib/desired/desired.ts";
import { addressMonitor, findRuleMonitors, isListening, type LineKind, type Monitor } from "../../lib/node/monitor.ts";
import { type CommandRunner, linesOf } from "../../lib/node/process.ts";
import { SystemCommands } from "../../lib/node/system_commands.ts";
import { environmentOfCommands } from "../../lib/rights.ts";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { ADDRESS } from "../support/program.ts";
import { configOf } from "../support/reports.ts";

const OPTIONS = { timeout: 10_000 } as const;
const PATIENCE_MS = 30_000;
const RULE = ["OUTPUT", "-d", ADDRESS, "-p", "tcp", "-m", "tcp", "--dport", "443", "-j"];
const LOSSES: readonly (readonly string[])[] = [
  ["iptables-nft", "-t", "raw", "-D", ...RULE, "NOTRACK"],
  ["iptables-nft", "-F", "OUTPUT"],
  ["iptables-nft", "-t", "raw", "-F"],
  ["nft", "flush", "chain", "ip", "raw", "OUTPUT"],
  ["nft", "delete", "table", "ip", "filter"],
  ["nft", "flush", "ruleset"],
];

kernelTest("ip monitor listens when the kernel says so, and tells of a lost address", async (namespace) => {
  const monitor = addressMonitor(desired(configOf(), "present"));
  const address = (what: string) => namespace.ok(["ip", "address", what, `${ADDRESS}/32`, "dev", "lo"]);
  await watch(namespace, monitor, async (told) => {
    await address("add");
    await told(() => address("del"));
  });
});

kernelTest("the monitors of rules listen when the kernel says so, and tell of every loss", async (namespace) => {
  const of = (...flags: string[]) =>
    findRuleMonitors(desired(configOf(...flags), "present"), runnerIn(namespace), OPTIONS);
  for (const monitor of await of()) await tellsOfLosses(namespace, monitor, LOSSES);
  const [best] = await of("--ip-address=fd00:96::2");
  await tellsOfLosses(namespace, best!, [["ip6tables-nft", "-t", "raw", "-F"], ...LOSSES]);
});

async function tellsOfLosses(namespace: Namespace, monitor: Monitor, losses: typeof LOSSES): Promise<void> {
  await watch(namespace, monitor, async (told) => {
    for (const loss of losses) {
      for (const program of ["iptables-nft", "ip6tables-nft"]) {
        await namespace.ok([program, "-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"]);
        await namespace.ok([program, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "-j", "NOTRACK"]);
      }
      await namespace.ok(["iptables-nft", "-t", "raw", "-A", ...RULE, "NOTRACK"]);
      await told(() => namespace.ok(loss), loss.join(" "));
    }
  });
}

/** Runs a monitor from before it listens until it has ended, and lets `use` wait until it tells of what was done. */
async function watch(
  namespace: Namespace,
  monitor: Monitor,
  use: (told: (act: () => Promise<unknown>, what?: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const runner = runnerIn(namespace);
  const stop = new AbortController();
  const lines: string[] = [];
  const ours = () => lines.filter((line) => monitor.judge(line) === "ours" satisfies LineKind).length;
  assertEquals(await isListening(runner, monitor, 1, OPTIONS), false);
  const process = runner.start(monitor.argv, { timeout: Infinity, signal: stop.signal });
  const read = (async () => {
    for await (const some of linesOf(process)) lines.push(...some);
  })();
  try {
    await until(() => isListening(runner, monitor, process.pid!, OPTIONS), "it listens");
    await use(async (act, what = "a loss") => {
      const before = ours();
      await act();
      await until(() => ours() > before, `it tells of ${what}; lines:\n${lines.join("\n")}`);
    });
    assertEquals(lines.filter((line) => ["unknown", "lost"].includes(monitor.judge(line))), []);
  } finally {
    stop.abort();
    await process.end();
    await read;
  }
  assertEquals(await isListening(runner, monitor, process.pid!, OPTIONS), false);
}

async function until(holds: () => unknown, what: string): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; !await holds(); await delay(10)) {
    if (performance.now() > deadline) throw new Error(`Cannot wait any longer until ${what}`);
  }
}

function runnerIn(namespace: Namespace): CommandRunner {
  const commands = new SystemCommands(environmentOfCommands());
  return { start: (argv, options) => commands.start(namespace.argv(argv), options) };
}

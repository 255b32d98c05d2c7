/**
 * The life of the program, from its arguments to its exit code.
 *
 * @module
 */
import { checkJson, checkText } from "./report/check.ts";
import { cleanup } from "./reconcile/cleanup.ts";
import { commandRunner } from "./node/process.ts";
import { type Config, parseConfig } from "./config/config.ts";
import { monotonicClock } from "./clock.ts";
import { type DaemonOptions, runDaemon } from "./daemon/daemon.ts";
import { formatDuration } from "./config/duration.ts";
import { usage } from "./config/flags.ts";
import { Journal } from "./report/change_log.ts";
import { Keeper } from "./reconcile/keeper.ts";
import { getLog, setUpLogging } from "./log/mod.ts";
import { observeCommands, type Observer } from "./report/observer.ts";
import { dropNetwork, dropRights } from "./rights.ts";
import { reuseProcesses } from "./node/session.ts";
import { ListenError, openServers } from "./report/serve.ts";
import { settle } from "./reconcile/settle.ts";
import { Signals } from "./daemon/signals.ts";
import { COMMIT, VERSION } from "./version.ts";

const PROGRAM = "apiserver-proxy-sidecar";
/** How long `--daemon=false` tries what may pass by itself. */
const ONE_SHOT_MS = 30_000;
/** How long cleanup looks for left-overs in the other back end of iptables. */
const STRAYS_MS = 1000;

const log = getLog("run");

/**
 * Runs the program.
 *
 * @param argv The command line, without the program's name.
 * @returns The exit code: 0 done or stopped, 1 something could not be done, 2 bad command line.
 */
export async function run(argv: readonly string[]): Promise<number> {
  const parsed = parseConfig(argv);
  switch (parsed.kind) {
    case "help":
      print(Deno.stdout, usage());
      return 0;
    case "version":
      print(Deno.stdout, `${PROGRAM} ${VERSION} (${COMMIT})\n`);
      return 0;
    case "errors":
      print(Deno.stderr, [...parsed.errors, `Run "${PROGRAM} --help" for all flags`, ""].join("\n"));
      return 2;
  }
  const { config } = parsed;
  dropRights(config);
  await using logging = await setUpLogging(config.log, { program: PROGRAM, version: VERSION, pid: Deno.pid });
  try {
    return await (config.check ? check(config) : live(config));
  } catch (error) {
    if (error instanceof ListenError) log.error(error.message);
    else log.error("Ended by a defect of this program", { error });
    return 1;
  } finally {
    logging.flush();
  }
}

/** `--check`: looks, prints what is there, and changes nothing. */
async function check(config: Config): Promise<number> {
  const keeper = new Keeper(config, { runner: commandRunner, clock: monotonicClock });
  const report = await keeper.look();
  const backend = config.setupIptables ? keeper.backend : undefined;
  const result = { report, backend, strays: await keeper.strays() };
  print(
    Deno.stdout,
    config.output === "json"
      ? `${JSON.stringify(checkJson(result), null, 2)}\n`
      : checkText(result, Deno.stdout.isTerminal() && !Deno.noColor),
  );
  return report.ok ? 0 : 1;
}

async function live(config: Config): Promise<number> {
  using signals = new Signals();
  const clock = monotonicClock;
  await using servers = await openServers(config, clock);
  dropNetwork();
  const observers: readonly Observer[] = [new Journal("present", clock.now), ...servers.observers];
  await using reused = reuseProcesses(commandRunner, (argv) => config.daemon && isAsked(argv));
  const runner = observeCommands(reused, observers);
  const keeper = new Keeper(config, { runner, clock });
  const working = work({ config, keeper, runner, clock, observers, signals });
  // Told when the commands of the first pass already run: it takes as long as they do.
  const started = keeper.known.then((backend) => {
    log.info("Started", {
      version: VERSION,
      commit: COMMIT,
      addresses: config.addresses.map(({ ip }) => ip).join(","),
      interface: config.interface,
      ...config.setupIptables && { ports: config.ports.join(","), iptables: backend ?? "as installed" },
      ...config.daemon && { interval: formatDuration(config.syncInterval) },
    });
  });
  const ok = await Promise.race([
    Promise.all([working, started]).then(([ok]) => ok),
    signals.impatience.then(() => false),
  ]);
  log.info("Stopped", { ok });
  return ok ? 0 : 1;
}

/** Whether a command is one of the tools, and not a monitor or a listing. */
function isAsked(argv: readonly string[]): boolean {
  return argv.includes("-batch") || argv.includes("--noflush");
}

/** Sets up, keeps if it is a daemon, cleans up if that is asked for; gives whether all of it worked. */
async function work(options: DaemonOptions): Promise<boolean> {
  const { config, keeper, clock, observers, signals } = options;
  let done = true;
  if (config.daemon) {
    await runDaemon(options);
  } else {
    done = await settle(async (cause, signal) => {
      const request = { cause, scope: "all", at: clock.now() } as const;
      const report = await keeper.pass(request, { signal });
      for (const observer of observers) observer.onPass?.(report, request);
      return report;
    }, { clock, budget: ONE_SHOT_MS, signal: signals.stop });
  }
  if (!config.cleanup) return done;
  const strays = await keeper.strays(AbortSignal.timeout(STRAYS_MS));
  const gone = await cleanup(config, { runner: commandRunner, commandTimeout: config.commandTimeout }, {
    clock,
    journal: new Journal("absent", clock.now),
    backends: [keeper.backend, ...strays === undefined ? [] : [strays]],
  });
  return gone && done;
}

function print(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += stream.writeSync(bytes.subarray(written));
}

/**
 * The life of the program, from its arguments to its exit code.
 *
 * @module
 */
import { type Clock, monotonicClock } from "./clock.ts";
import { type Config, parseConfig, type ParseResult } from "./config/config.ts";
import { formatDuration } from "./config/duration.ts";
import { usage } from "./config/flags.ts";
import { runDaemon } from "./daemon/daemon.ts";
import { Signals } from "./daemon/signals.ts";
import { type Desired, desired } from "./desired/desired.ts";
import { getLog, setUpLogging } from "./log/mod.ts";
import { type BackendState, detectBackend, findStrays } from "./node/backend.ts";
import type { Backend } from "./node/iptables.ts";
import { SystemCommands } from "./node/system_commands.ts";
import { AddressKeeper } from "./reconcile/addresses.ts";
import { check } from "./reconcile/check.ts";
import { cleanup, CLEANUP_MS } from "./reconcile/cleanup.ts";
import type { Keeper, KeeperOptions } from "./reconcile/keeper.ts";
import type { Observer } from "./reconcile/observer.ts";
import { merge } from "./reconcile/pass.ts";
import { backendOf, RulesKeeper } from "./reconcile/rules.ts";
import { settle } from "./reconcile/settle.ts";
import { ChangeLog } from "./report/change_log.ts";
import { checkOutput, checkText } from "./report/check_output.ts";
import { print, PrintError } from "./report/print.ts";
import { ListenError, openServers } from "./report/serve.ts";
import { dropNetwork, dropRights, environmentOfCommands } from "./rights.ts";
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
  // First of all: as process 1 of a container it would otherwise not even be ended by a signal.
  using signals = new Signals();
  const parsed = parseConfig(argv);
  const stopped = new Promise<number>((resolve) => signals.stop.addEventListener("abort", () => resolve(1)));
  // Whoever reads what is printed may never do so.
  if (parsed.kind !== "config") return await Promise.race([answer(parsed), stopped]);
  const { config } = parsed;
  const runner = new SystemCommands(environmentOfCommands());
  dropRights(config);
  await using _ = await setUpLogging(config.log, { program: PROGRAM, version: VERSION, pid: Deno.pid });
  const life = { config, desired: desired(config, "present"), runner, signals, clock: monotonicClock };
  try {
    return await Promise.race([config.check ? Promise.race([lookOnly(life), stopped]) : live(life), defect()]);
  } catch (error) {
    if (error instanceof ListenError || error instanceof PrintError) log.error(error.message);
    else log.error("Ended by a defect of this program", { error, stack: error instanceof Error && error.stack });
    return 1;
  }
}

/** Rejects with whatever is thrown where nobody waits for it: it would end the program before its log is written. */
function defect(): Promise<never> {
  return new Promise((_, reject) => {
    addEventListener("error", (event) => {
      event.preventDefault();
      reject(event.error);
    });
    addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      reject(event.reason);
    });
  });
}

/** Prints what a command line comes to that asks for no work. */
async function answer(parsed: Exclude<ParseResult, { kind: "config" }>): Promise<number> {
  try {
    switch (parsed.kind) {
      case "help":
        await print(Deno.stdout, usage());
        return 0;
      case "version":
        await print(Deno.stdout, `${PROGRAM} ${VERSION} (${COMMIT})\n`);
        return 0;
      case "errors":
        await print(Deno.stderr, [...parsed.errors, `Run "${PROGRAM} --help" for all flags`, ""].join("\n"));
        return 2;
    }
  } catch (error) {
    if (!(error instanceof PrintError)) throw error;
    await print(Deno.stderr, `${error.message}\n`).catch(() => {});
    return 1;
  }
}

/** What everything below works with. */
interface Life {
  readonly config: Config;
  readonly desired: Desired;
  readonly runner: SystemCommands;
  readonly signals: Signals;
  readonly clock: Clock;
}

/** `--check`: looks, prints what is there, and changes nothing. */
async function lookOnly({ config, desired, runner, clock }: Life): Promise<number> {
  const { commandTimeout } = config;
  const result = await check(desired, backendOf(config), { runner, clock, commandTimeout });
  const output = checkOutput(result);
  const text = config.output === "json"
    ? `${JSON.stringify(output, null, 2)}\n`
    : checkText(output, Deno.stdout.isTerminal() && !Deno.noColor);
  await print(Deno.stdout, text);
  return result.ok ? 0 : 1;
}

async function live(life: Life): Promise<number> {
  const { config, desired, clock, signals } = life;
  const { link, addresses, rules } = desired;
  await using servers = await openServers(config, [link, ...addresses, ...rules], clock);
  dropNetwork();
  const working = work(life, [new ChangeLog("present", clock.now), ...servers.observers]);
  // Told when the commands of the first pass already run: it takes as long as they do.
  log.info("Started", {
    version: VERSION,
    commit: COMMIT,
    addresses: config.addresses.map(({ ip }) => ip).join(","),
    interface: config.interface,
    ...config.setupIptables && { ports: config.ports.join(","), iptables: config.iptablesMode },
    ...config.daemon && { interval: formatDuration(config.syncInterval) },
  });
  const ok = await Promise.race([working, signals.impatience.then(() => false)]);
  log.info("Stopped", { ok });
  return ok ? 0 : 1;
}

/** Sets up, keeps if it is a daemon, cleans up if that is asked for; gives whether all of it worked. */
async function work(life: Life, observers: readonly Observer[]): Promise<boolean> {
  const { config, desired, runner, clock } = life;
  const options: KeeperOptions = { runner, clock, commandTimeout: config.commandTimeout };
  let backend = backendOf(config);
  const following: Observer = { onPass: (report) => void (backend = report.backend ?? backend) };
  await using addresses = new AddressKeeper(desired, options);
  await using rules = new RulesKeeper(desired, backend, { ...options, looksForStrays: config.daemon });
  // The rules first, since they take longer.
  const keepers = config.setupIptables ? [rules, addresses] : [addresses];
  const all = [following, ...observers];
  const done = config.daemon
    ? await runDaemon({ ...life, keepers, observers: all }).then(() => true)
    : await passOnce(keepers, all, life);
  return config.cleanup ? await cleanUp(life, backend) && done : done;
}

/** `--daemon=false`: passes until all is there, as long as that makes sense. */
function passOnce(keepers: readonly Keeper[], observers: readonly Observer[], life: Life): Promise<boolean> {
  const { clock, signals } = life;
  return settle(async (cause, signal) => {
    const at = clock.now();
    return merge(
      await Promise.all(keepers.map(async (keeper) => {
        const report = await keeper.pass(cause, signal);
        for (const observer of observers) observer.onPass?.(report, { about: keeper.about, cause, at });
        return report;
      })),
    );
  }, { clock, budget: ONE_SHOT_MS, signal: signals.stop });
}

async function cleanUp({ config, desired, runner, clock }: Life, known: BackendState): Promise<boolean> {
  const { commandTimeout } = config;
  const deadline = clock.now() + CLEANUP_MS;
  const signal = AbortSignal.timeout(STRAYS_MS);
  const { backend } = known.certainty !== "unknown" || !config.setupIptables
    ? { backend: undefined, ...known }
    : await detectBackend(runner, { timeout: commandTimeout, signal });
  const strays = await findStrays(desired, backend, { runner, commandTimeout, signal });
  const backends: readonly Backend[] = [backend, ...strays === undefined ? [] : [strays]];
  const [observer, budget] = [new ChangeLog("absent", clock.now), deadline - clock.now()];
  return await cleanup(desired, { runner, clock, commandTimeout, backends, observer, budget });
}

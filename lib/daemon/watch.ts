/**
 * Kernel events, as a hint to look again: what a monitor prints is never taken for true.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { CommandRunner } from "../node/process.ts";
import type { CommandError } from "../node/command_error.ts";
import type { Desired } from "../desired/desired.ts";
import { getLog } from "../log/mod.ts";
import { Recurring, repeatText } from "../log/repeat.ts";
import { backoff, type Scope } from "./loop.ts";

const log = getLog("watch");

/** A monitor needs so long to subscribe after its start; what happens before goes unseen. */
const SUBSCRIBED_MS = 500;
/** A monitor that lived so long was well. */
const WELL_MS = 60_000;
/** Pauses before a monitor is started again, in milliseconds. */
const RESTART = { first: 100, max: 30_000 };

/** A program that prints a line for each event. */
export interface Monitor {
  readonly argv: readonly string[];
  /** What is to be looked at when it says something. */
  readonly scope: Exclude<Scope, "all">;
  /** Whether a line may be about something of ours. */
  readonly concerns: (line: string) => boolean;
}

/** `ip monitor`: addresses and links. */
export function addressMonitor({ link, addresses }: Desired): Monitor {
  const quoted = (names: readonly string[]) => names.map((name) => name.replaceAll(/[^\w]/g, "\\$&")).join("|");
  // Whole words, or 10.96.0.2 would be in 10.96.0.20; `eth0@if5:` and `eth0:` are both the link's name.
  const pattern = new RegExp(
    `(?<![\\w.:-])(?:(?:${quoted([link.name])})(?![\\w.-])|(?:${quoted(addresses.map(({ ip }) => ip))})(?![\\w.:]))`,
  );
  return {
    argv: ["ip", "-o", "monitor", "address", "link"],
    scope: "addresses",
    concerns: (line) => pattern.test(line),
  };
}

/** `nft monitor`: rules, chains and tables that went from the tables of ours. */
export function ruleMonitor(): Monitor {
  const pattern =
    /^delete (?:table ip6? (?:raw|filter)\b|(?:chain|rule) ip6? (?:raw|filter) (?:PREROUTING|INPUT|OUTPUT)\b)/;
  return { argv: ["nft", "monitor", "destroy"], scope: "rules", concerns: (line) => pattern.test(line) };
}

/** Options for {@linkcode Watcher}. */
export interface WatcherOptions {
  readonly runner: CommandRunner;
  readonly clock: Clock;
  /** Asks for a look. */
  readonly onEvent: (scope: Monitor["scope"]) => void;
  /** Called when the monitor has ended and will be started again. */
  readonly onRestart: (program: string) => void;
}

/** Runs a monitor, and starts it again when it ends. */
export class Watcher {
  readonly #monitor: Monitor;
  readonly #options: WatcherOptions;
  #current = new AbortController();

  constructor(monitor: Monitor, options: WatcherOptions) {
    this.#monitor = monitor;
    this.#options = options;
  }

  /** Starts the monitor anew: it did not tell what it should have. */
  restart(): void {
    this.#current.abort("it told nothing of a loss");
  }

  /**
   * Watches until the signal aborts.
   *
   * @returns False if the monitor is not installed.
   */
  async run(signal: AbortSignal): Promise<boolean> {
    const { clock, onRestart } = this.#options;
    const [program = ""] = this.#monitor.argv;
    const deaths = new Recurring({ now: clock.now });
    const onAbort = () => this.#current.abort();
    signal.addEventListener("abort", onAbort);
    for (let attempt = 1; !signal.aborted; attempt++) {
      const started = clock.now();
      const error = await this.#watch();
      if (signal.aborted) break;
      if (error?.kind === "missing-program") return false;
      if (clock.now() - started > WELL_MS) attempt = 1;
      const died = deaths.report(program);
      if (died !== undefined) {
        log.warning("A watcher ended and is started again", {
          command: this.#monitor.argv.join(" "),
          ended: repeatText(died),
          ...error && { error },
        });
      }
      onRestart(program);
      await clock.delay(backoff(attempt, RESTART), signal);
    }
    signal.removeEventListener("abort", onAbort);
    return true;
  }

  /** One life of the monitor. */
  async #watch(): Promise<CommandError | undefined> {
    const { runner, clock, onEvent } = this.#options;
    const { argv, scope, concerns } = this.#monitor;
    this.#current = new AbortController();
    const ended = new AbortController();
    const talk = runner.start(argv, { timeout: Infinity, throttled: true, signal: this.#current.signal });
    // What was lost while none listened shows in a look.
    const subscribed = clock.delay(SUBSCRIBED_MS, ended.signal).then(() => ended.signal.aborted || onEvent(scope));
    let deaf = false;
    const isNews = (stdout: string, stderr: string) => {
      // "No buffer space available": events were lost.
      deaf ||= stderr !== "";
      return deaf || stdout.endsWith("\n");
    };
    for (let news = await talk.say("", isNews); news !== undefined; news = await talk.say("", isNews)) {
      if (deaf || news.split("\n").some(concerns)) onEvent(scope);
      deaf = false;
    }
    ended.abort();
    await subscribed;
    return (await talk.end()).error;
  }
}

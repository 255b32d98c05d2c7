/**
 * Logs that people who run klog programs know: klog's flags, lines and files, on LogTape's loggers, one category per
 * module.
 *
 * @module
 */
import { configureSync, getLogger, type Logger, resetSync } from "@logtape/logtape";
import { backtraceOf, type CallSite, callSiteOf, type StackMark } from "./call_site.ts";
import { WallClock } from "./clock.ts";
import type { LogConfig } from "./config.ts";
import type { KlogRecord } from "./record.ts";
import { type LogHost, Output } from "./output.ts";
import { verbosityOf } from "./verbosity.ts";

export type { LogHost };

/** The root of the categories. */
const PROGRAM = "apiserver-proxy-sidecar";

/** Named values that belong to a record; undefined ones are left out. */
export type Properties = Readonly<Record<string, unknown>>;

/** What is always logged, and what is logged at some level. */
export interface Log {
  info(message: string, properties?: Properties): void;
  warning(message: string, properties?: Properties): void;
  /** `error` in the properties is what was thrown: ` err="…"` in text, the key `err` in JSON. */
  error(message: string, properties?: Properties): void;
  /** The log at klog level `level`, or undefined when that level is off, so that `log.v(4)?.info(…)` evaluates nothing. */
  v(level: number): Pick<Log, "info"> | undefined;
}

/** Logging that is set up; disposing of it drops all later records. */
export interface Logging extends AsyncDisposable {
  /** Says what was lost, if something was. Records are never held back, so there is nothing else to write. */
  flush(): void;
}

/** What every log reads at each call. Before {@linkcode setUpLogging} and after its end, everything is off. */
interface Setup {
  readonly on: boolean;
  readonly clock: { now(): number };
  verbosityOf(module: string): number;
  callSiteOf(mark: StackMark): CallSite | undefined;
  backtraceOf(mark: StackMark, callSite: CallSite | undefined): string | undefined;
}

const OFF: Setup = {
  on: false,
  clock: { now: () => 0 },
  verbosityOf: () => -1,
  callSiteOf: () => undefined,
  backtraceOf: () => undefined,
};

let setup = OFF;

/**
 * The log of one module. It can be had at any time; before {@linkcode setUpLogging} its records are dropped.
 *
 * @param module The module's file name without `.ts`, which `--vmodule` is matched with.
 */
export function getLog(module: string): Log {
  return new ModuleLog(module);
}

/** Starts logging. What writes files is loaded only if `config` asks for files. */
export async function setUpLogging(config: LogConfig, host: LogHost): Promise<Logging> {
  const files = config.toStderr ? undefined : (await import("./files.ts")).LogFiles;
  const withClock = { ...host, clock: host.clock ?? new WallClock() };
  const output = new Output(config, withClock, files);
  configureSync({
    reset: true,
    // LogTape tells of a record that made a sink throw, but not to that same sink.
    sinks: { output: output.sink, defects: (record) => output.sink(record) },
    loggers: [
      { category: PROGRAM, sinks: ["output"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: ["defects"], lowestLevel: "warning" },
    ],
  });
  const mine = setupOf(config, withClock);
  setup = mine;
  return {
    flush: () => output.flush(),
    [Symbol.asyncDispose]() {
      if (setup === mine) {
        setup = OFF;
        resetSync();
      }
      output.close();
      return Promise.resolve();
    },
  };
}

function setupOf(config: LogConfig, host: LogHost & Pick<Setup, "clock">): Setup {
  const { backtraceAt, format, skipHeaders } = config;
  const isShown = format === "json" || !skipHeaders || backtraceAt !== undefined;
  const find = host.callSiteOf ?? callSiteOf;
  return {
    on: true,
    clock: host.clock,
    verbosityOf: (module) => verbosityOf(module, config),
    callSiteOf: (mark) => isShown ? find(mark) : undefined,
    backtraceOf: (mark, at) =>
      backtraceAt !== undefined && at?.file === backtraceAt.file && at.line === backtraceAt.line
        ? backtraceOf(mark)
        : undefined,
  };
}

class ModuleLog implements Log {
  readonly #module: string;
  readonly #logger: Logger;
  #setup = OFF;
  #verbosity = -1;

  constructor(module: string) {
    this.#module = module;
    this.#logger = getLogger([PROGRAM, module]);
  }

  info(message: string, properties?: Properties): void {
    if (setup.on) this.write("info", 0, message, this.info, properties);
  }

  warning(message: string, properties?: Properties): void {
    if (setup.on) this.write("warning", 0, message, this.warning, properties);
  }

  error(message: string, properties?: Properties): void {
    if (setup.on) this.write("error", 0, message, this.error, properties);
  }

  v(level: number): LevelLog | undefined {
    if (this.#setup !== setup) {
      this.#setup = setup;
      this.#verbosity = setup.verbosityOf(this.#module);
    }
    return level <= this.#verbosity ? new LevelLog(this, level) : undefined;
  }

  /** `mark` is the method that the call site called. */
  write(
    level: KlogRecord["level"],
    v: number,
    message: string,
    mark: StackMark,
    properties: Properties = {},
  ): void {
    const callSite = setup.callSiteOf(mark);
    const record: Omit<KlogRecord, "category"> = {
      level,
      message: [message],
      rawMessage: message,
      timestamp: setup.clock.now(),
      properties,
      v,
      callSite,
      stack: setup.backtraceOf(mark, callSite),
    };
    this.#logger.emit(record);
  }
}

/** A module's log at one klog level. */
class LevelLog implements Pick<Log, "info"> {
  readonly #log: ModuleLog;
  readonly #level: number;

  constructor(log: ModuleLog, level: number) {
    this.#log = log;
    this.#level = level;
  }

  info(message: string, properties?: Properties): void {
    this.#log.write("info", this.#level, message, this.info, properties);
  }
}

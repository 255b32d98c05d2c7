import { getLogger, type Logger } from "@logtape/logtape";

/** The root of the categories: `PROGRAM/module`, and `PROGRAM/module/N` for what is logged at klog level N. */
export const PROGRAM = "apiserver-proxy-sidecar";

/** What a record shows beside its message. */
export type Value = string | number | boolean | undefined | readonly Value[];

/** Named values that belong to a record; undefined ones are left out. `error` is what was thrown. */
export type Properties<Key extends string> = { readonly [Name in Key]?: Name extends "error" ? unknown : Value };

/** Logs a record. */
export type Write = <Key extends string>(message: string, properties?: Properties<Key>) => void;

/** What is always logged, and what is logged at some level. */
export interface Log {
  readonly info: Write;
  readonly warning: Write;
  /** The property `error` is shown as ` err="…"` in text, as the key `err` in JSON. */
  readonly error: Write;
  /** The log at klog level `level`, or undefined when that level is off, so that `log.v(4)?.info(…)` evaluates nothing. */
  v(level: number): Pick<Log, "info"> | undefined;
}

/** Gives the klog level up to which a module's records are written. */
export type LevelOf = (module: string) => number;

const OFF: LevelOf = () => -Infinity;
let levelOf = OFF;

/** Sets the levels of all modules; undefined: all are off, as they are in the beginning. */
export function setLevels(levels: LevelOf | undefined): void {
  levelOf = levels ?? OFF;
}

/**
 * The log of one module. It can be had at any time; before logging is set up its records are dropped.
 *
 * @param module The module's file name without `.ts`, which `--vmodule` is matched with.
 */
export function getLog(module: string): Log {
  const logger = getLogger([PROGRAM, module]);
  const levels = new Map<number, Pick<Log, "info">>();
  return {
    ...methodsOf(logger),
    v(level) {
      if (level > levelOf(module)) return undefined;
      const log = levels.get(level) ?? methodsOf(logger.getChild(String(level)));
      levels.set(level, log);
      return log;
    },
  };
}

// Bound and not wrapped, so that the frame above LogTape's is the call site.
function methodsOf(logger: Logger): Omit<Log, "v"> {
  return {
    info: logger.info.bind(logger) as Write,
    warning: logger.warning.bind(logger) as Write,
    error: logger.error.bind(logger) as Write,
  };
}

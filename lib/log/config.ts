/** A severity of klog, as its flags number them. */
export const SEVERITIES = ["INFO", "WARNING", "ERROR", "FATAL"] as const;
/** One of {@linkcode SEVERITIES}. */
export type Severity = typeof SEVERITIES[number];

/** The number of a severity. */
export function rankOf(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** One `glob=N` of `--vmodule`: the level of the modules whose name matches a glob. */
export interface ModuleVerbosity {
  /** Matches the module's file name without `.ts`. */
  readonly module: RegExp;
  readonly level: number;
}

/** What the logging flags say; see docs/flags.md. */
export interface LogConfig {
  /** `-v`: records of a higher level are dropped. */
  readonly verbosity: number;
  /** `--vmodule`, in order; the first match wins. */
  readonly vmodule: readonly ModuleVerbosity[];
  readonly format: "text" | "json";
  readonly toStderr: boolean;
  readonly alsoToStderr: boolean;
  readonly stderrThreshold: Severity;
  readonly alsoToStderrThreshold: Severity;
  /** Whether `stderrThreshold` is without effect on {@linkcode LogConfig.toStderr}. */
  readonly legacyThreshold: boolean;
  /** `--log_dir`; undefined: the temporary directory. */
  readonly dir: string | undefined;
  /** `--log_file`; undefined: one file per severity in {@linkcode LogConfig.dir}. */
  readonly file: string | undefined;
  /** `--log_file_max_size` in bytes; 0: no limit. */
  readonly fileMaxSize: number;
  readonly skipHeaders: boolean;
  readonly skipLogHeaders: boolean;
  readonly addDirHeader: boolean;
  readonly oneOutput: boolean;
  /** `--log_backtrace_at`; undefined: off. */
  readonly backtraceAt: { readonly file: string; readonly line: number } | undefined;
}

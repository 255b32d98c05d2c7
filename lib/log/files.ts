import { type LogConfig, SEVERITIES, type Severity } from "./config.ts";
import { LogFile, type LogFileOptions } from "./log_file.ts";
import { directoryFault, directoryPlace, fixedPlace, type Place } from "./place.ts";

/** Says something about the log itself, on standard error. */
export type Say = (
  level: "info" | "warning" | "error",
  message: string,
  properties: Readonly<Record<string, unknown>>,
) => void;

/** What the names and headers of log files tell about the process. */
export interface FileHost {
  readonly program: string;
  readonly version: string;
  readonly pid: number;
  /** Where files go without `--log_dir`. @default {"/tmp"} */
  readonly tempDir?: string;
  /** @default Deno.hostname */
  readonly hostname?: () => string;
  /** @default Deno.uid */
  readonly uid?: () => number | null;
}

/**
 * The log files: the one of `--log_file`, or one for each severity in `--log_dir`. Each is opened when the first record
 * for it comes.
 */
export class LogFiles {
  readonly #isSingle: boolean;
  readonly #logs: ReadonlyMap<Severity, LogFile>;
  /** How many files cannot be written. They mostly fail together, which is said once. */
  #failing = 0;

  constructor(config: LogConfig, host: FileHost & { readonly clock: { now(): number } }, say: Say) {
    const hostname = permitted(host.hostname ?? Deno.hostname) ?? "unknownhost";
    const options: LogFileOptions = {
      maxSize: config.fileMaxSize,
      header: config.skipLogHeaders || config.format === "json" ? () => "" : (now) => header(now, hostname, host),
      now: () => host.clock.now(),
      onFailure: (file, error) => {
        if (++this.#failing === 1) say("error", "Cannot write log file, logging to standard error", { error, file });
      },
      onRecovery: (file) => {
        if (--this.#failing === 0) say("info", "Log file can be written again", { file });
      },
      onRotationFailure: (file, error) => say("error", "Cannot rotate log file, it grows on", { error, file }),
    };
    const { file } = config;
    this.#isSingle = config.oneOutput || file !== undefined;
    if (file !== undefined) {
      const [place] = checked([fixedPlace(file)], parentOf(file), say);
      const log = new LogFile(place!, options);
      this.#logs = new Map(SEVERITIES.map((severity) => [severity, log]));
    } else {
      const directory = config.dir ?? host.tempDir ?? "/tmp";
      const places = checked(directoryPlaces(directory, host, hostname, say), directory, say);
      this.#logs = new Map(SEVERITIES.map((severity, i) => [severity, new LogFile(places[i]!, options)]));
    }
  }

  /** Writes a record's line to each file that it belongs to; false if one of them could not take it. */
  write(severity: Severity, line: string): boolean {
    const severities = this.#isSingle ? [severity] : SEVERITIES.slice(0, SEVERITIES.indexOf(severity) + 1);
    // Each is tried, whatever became of the others.
    const results = severities.map((each) => this.#logs.get(each)!.write(line));
    return results.every(Boolean);
  }

  /** Closes the files. */
  close(): void {
    for (const log of this.#logs.values()) log.close();
  }
}

/** Where the files of each severity are, in the order of {@linkcode SEVERITIES}. */
function directoryPlaces(directory: string, host: FileHost, hostname: string, say: Say): readonly Place[] {
  const sayLinkFailure = once((file: string, error: unknown) =>
    say("warning", "Cannot make the symbolic link to the log file", { error, file })
  );
  const process = [host.program, hostname.replace(/\..*/, ""), userName(host.uid ?? Deno.uid)]
    .map((part) => part.replaceAll(/[^\w.-]/g, "_")).join(".");
  return SEVERITIES.map((severity) => {
    const names = {
      before: `${process}.log.${severity}.`,
      after: `.${host.pid}`,
      link: `${host.program}.${severity}`,
    };
    return directoryPlace(directory, names, sayLinkFailure);
  });
}

/** The same places, in a directory that is looked at before a file in it is opened. */
function checked(places: readonly Place[], directory: string, say: Say): readonly Place[] {
  const sayFault = once((fault: string) => say("warning", "The log directory is not safe", { directory, fault }));
  return places.map((place) => ({
    ...place,
    open(now) {
      const fault = directoryFault(directory);
      if (fault !== undefined) sayFault(fault);
      return place.open(now);
    },
  }));
}

function header(now: Date, hostname: string, { program, version }: FileHost): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const date = `${now.getFullYear()}/${two(now.getMonth() + 1)}/${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return `Log file created at: ${date} ${time}\n` +
    `Running on machine: ${hostname}\n` +
    `Binary: ${program} ${version}\n` +
    `Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu pid file:line] msg\n`;
}

/** `root`, or the number of any other user: a name would take the right to read the list of users. */
function userName(getUid: () => number | null): string {
  const uid = permitted(getUid);
  return uid === 0 ? "root" : String(uid ?? "unknownuser");
}

/** Without the permission to know something, the log is written all the same. */
function permitted<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash) || "/";
}

function once<A extends readonly unknown[]>(act: (...args: A) => void): (...args: A) => void {
  let isDone = false;
  return (...args) => {
    if (!isDone) act(...args);
    isDone = true;
  };
}

import { type LogConfig, rankOf, SEVERITIES, type Severity } from "./config.ts";
import { LogFile, type LogFileOptions } from "./log_file.ts";
import { directoryGuard, directoryPlace, fixedPlace, type Place } from "./place.ts";
import type { Line } from "./queue.ts";
import { localTime } from "./time.ts";

/** What the names and headers of log files tell about the process. */
export interface FileHost {
  readonly program: string;
  readonly version: string;
  readonly pid: number;
  /** Gives milliseconds since the Unix epoch. @default Date.now */
  readonly now?: () => number;
  /** Where files go without `--log_dir`. @default {"/tmp"} */
  readonly tempDir?: string;
  /** @default Deno.hostname */
  readonly hostname?: () => string;
  /** @default Deno.uid */
  readonly uid?: () => number | null;
}

/** A log, and what is in it. */
interface Log {
  readonly file: LogFile;
  readonly takes: (severity: Severity) => boolean;
}

/**
 * The log files: the one of `--log_file`, or one for each severity in `--log_dir`. Each is opened when the first record
 * for it comes.
 */
export class LogFiles {
  readonly #logs: readonly Log[];
  readonly #refuse: (line: Line) => void;

  /** @param refuse Takes the lines that a file could not. */
  constructor(config: LogConfig, host: FileHost, refuse: (line: Line) => void) {
    this.#refuse = refuse;
    const hostname = known(host.hostname ?? Deno.hostname) ?? "unknownhost";
    const options: LogFileOptions = {
      maxSize: config.fileMaxSize,
      header: config.skipLogHeaders || config.format === "json" ? () => "" : (now) => header(now, hostname, host),
      now: host.now ?? Date.now,
      failing: new Set(),
    };
    if (config.file !== undefined) {
      const place = fixedPlace(config.file);
      // Deno shows /dev only to those who have all permissions.
      const guardedPlace = config.file.startsWith("/dev/")
        ? place
        : guarded(place, directoryGuard(parentOf(config.file)));
      this.#logs = [{ file: new LogFile(guardedPlace, options), takes: () => true }];
    } else {
      const directory = config.dir ?? host.tempDir ?? "/tmp";
      const guard = directoryGuard(directory);
      this.#logs = SEVERITIES.map((severity, rank) => ({
        file: new LogFile(guarded(severityPlace(severity, directory, hostname, host), guard), options),
        takes: (other) => config.oneOutput ? other === severity : rankOf(other) >= rank,
      }));
    }
  }

  /** Writes lines to each file that they belong to; gives how many there were, since `refuse` has those that failed. */
  async write(lines: readonly Line[]): Promise<number> {
    const refused = new Set<Line>();
    for (const { file, takes } of this.#logs) {
      // Each is tried, whatever became of the others.
      const mine = lines.filter(({ severity }) => takes(severity));
      const written = await file.write(mine.map(({ text }) => text));
      for (const line of mine.slice(written)) refused.add(line);
    }
    for (const line of lines) if (refused.has(line)) this.#refuse(line);
    return lines.length;
  }

  /** Closes the files. */
  close(): void {
    for (const { file } of this.#logs) file.close();
  }
}

/** The same place, in a directory that is looked at before a file in it is opened. */
function guarded(place: Place, guard: () => Promise<void>): Place {
  return async (now, isFull) => {
    await guard();
    return await place(now, isFull);
  };
}

function severityPlace(severity: Severity, directory: string, hostname: string, host: FileHost): Place {
  const uid = known(host.uid ?? Deno.uid);
  // A name other than root's would take the right to read the list of users.
  const process = [host.program, hostname.replace(/\..*/, ""), uid === 0 ? "root" : String(uid ?? "unknownuser")]
    .map((part) => part.replaceAll(/[^\w.-]/g, "_")).join(".");
  const link = `${directory}/${host.program}.${severity}`;
  return directoryPlace(link, `${directory}/${process}.log.${severity}.`, `.${host.pid}`);
}

function header(now: number, hostname: string, { program, version }: FileHost): string {
  return `Log file created at: ${localTime(now).slice(0, 19).replaceAll("-", "/").replace("T", " ")}\n` +
    `Running on machine: ${hostname}\n` +
    `Binary: ${program} ${version}\n` +
    `Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu pid file:line] msg\n`;
}

/** Without the permission to know something, the log is written all the same. */
function known<T>(get: () => T): T | undefined {
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

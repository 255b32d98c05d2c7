import { type CallSite, callSiteOf, type StackMark } from "./call_site.ts";
import { type LogConfig, SEVERITIES, type Severity } from "./config.ts";
import type { FileHost, LogFiles, Say } from "./files.ts";
import { jsonFormat } from "./json.ts";
import { type Format, type KlogRecord, severityOf } from "./record.ts";
import { Stderr, type StderrOptions } from "./stderr.ts";
import { textFormat } from "./text.ts";

/** The process that logs. What is optional is there for tests: the machine's own is the default. */
export interface LogHost extends FileHost {
  /** The wall clock, in milliseconds with a fraction. */
  readonly clock?: { now(): number };
  readonly stderr?: StderrOptions;
  readonly callSiteOf?: (mark: StackMark) => CallSite;
}

/** Where records go: the one sink of LogTape. It formats each record once, and never throws. */
export class Output {
  readonly #config: LogConfig;
  readonly #format: Format;
  readonly #host: LogHost & { readonly clock: { now(): number } };
  readonly #stderr: Stderr;
  readonly #files: LogFiles | undefined;

  /** @param Files What writes files; undefined if none are asked for. */
  constructor(
    config: LogConfig,
    host: LogHost & { readonly clock: { now(): number } },
    Files: typeof LogFiles | undefined,
  ) {
    this.#config = config;
    this.#host = host;
    this.#format = config.format === "json" ? jsonFormat() : textFormat({ ...config, pid: host.pid });
    const lostLine = (lost: number) => this.#line(lostLine, "warning", "Log records were lost", { lost });
    this.#stderr = new Stderr(lostLine, host.stderr);
    const say: Say = (...said) => this.#stderr.write(this.#line(say, ...said));
    this.#files = Files && new Files(config, host, say);
  }

  /** Writes a record. */
  readonly sink = (record: KlogRecord): void => {
    const line = this.#format(record);
    const severity = severityOf(record.level);
    const isInFile = this.#files?.write(severity, line) ?? false;
    if (!isInFile || this.#config.alsoToStderr || rank(severity) >= rank(this.#config.stderrThreshold)) {
      this.#stderr.write(line);
    }
  };

  /** Says what was lost, if something was. */
  flush(): void {
    this.#stderr.flush();
  }

  /** Closes the files, after the last record. */
  close(): void {
    this.#files?.close();
    this.flush();
  }

  /** A line about logging itself, from whoever called `mark`. */
  #line(mark: StackMark, ...[level, message, properties]: Parameters<Say>): string {
    const timestamp = this.#host.clock.now();
    const callSite = (this.#host.callSiteOf ?? callSiteOf)(mark);
    return this.#format({
      category: [],
      level,
      message: [message],
      rawMessage: message,
      timestamp,
      properties,
      callSite,
    });
  }
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

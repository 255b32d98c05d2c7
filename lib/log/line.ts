import { getLogger, type LogRecord } from "@logtape/logtape";
import { backtraceOf, type CallSite, callSiteOf, type StackMark } from "./call_site.ts";
import type { LogConfig, Severity } from "./config.ts";
import { type Entry, type Format, jsonFormat, textFormat } from "./format.ts";
import type { Line } from "./queue.ts";
import { wallClock } from "./time.ts";

/** What lines tell about the process. What is optional is there for tests: the machine's own is the default. */
export interface LineHost {
  readonly pid: number;
  /** Gives milliseconds since the Unix epoch, with a fraction. */
  readonly now?: () => number;
  readonly callSiteOf?: (mark: StackMark) => CallSite;
}

/** LogTape's own functions, which are on the stack while they log. */
const MARKS = getLogger();

/** Makes the lines of records. */
export class LineMaker {
  readonly #format: Format;
  readonly #now: () => number;
  readonly #callSiteOf: (mark: StackMark) => CallSite | undefined;
  readonly #backtraceAt: LogConfig["backtraceAt"];
  #last: { readonly record: LogRecord; readonly line: Line } | undefined;

  constructor(config: LogConfig, { pid, now = wallClock(), callSiteOf: find = callSiteOf }: LineHost) {
    const { format, skipHeaders, backtraceAt } = config;
    const isShown = format === "json" || !skipHeaders || backtraceAt !== undefined;
    this.#format = format === "json" ? jsonFormat : textFormat({ ...config, pid });
    this.#now = now;
    this.#callSiteOf = isShown ? find : () => undefined;
    this.#backtraceAt = backtraceAt;
  }

  /** The line of the record that is being logged; the same for each sink that asks. */
  of(record: LogRecord): Line {
    if (this.#last?.record !== record) this.#last = { record, line: this.#make(record) };
    return this.#last.line;
  }

  /** The line that tells how many lines were lost. */
  ofLost(lost: number): Line {
    return {
      lost,
      ...this.#lineOf({
        severity: "WARNING",
        message: "Log records were lost",
        properties: { lost },
        callSite: this.#callSiteOf(this.ofLost),
      }),
    };
  }

  #make({ level, category, rawMessage, properties }: LogRecord): Line {
    const mark: StackMark = MARKS[level];
    const callSite = this.#callSiteOf(mark);
    const { file, line } = this.#backtraceAt ?? {};
    return this.#lineOf({
      severity: level.toUpperCase() as Severity,
      v: Number(category[2] ?? 0),
      // As it was given: braces are no place holders, since command output can have them.
      message: String(rawMessage),
      // LogTape's own have functions and records in them.
      properties: category[0] === "logtape" ? { error: properties.error } : properties,
      callSite,
      stack: callSite !== undefined && callSite.file === file && callSite.line === line ? backtraceOf(mark) : undefined,
    });
  }

  #lineOf(entry: Omit<Entry, "time">): Line {
    return { severity: entry.severity, text: this.#format({ ...entry, time: this.#now() }) };
  }
}

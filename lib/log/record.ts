import type { LogRecord } from "@logtape/logtape";
import type { CallSite } from "./call_site.ts";
import type { Severity } from "./config.ts";

/** A LogTape record with what klog's lines show besides. LogTape's records about itself have none of it. */
export interface KlogRecord extends LogRecord {
  /** The klog level that it was logged at. @default {0} */
  readonly v?: number;
  /** Undefined when nothing shows it. */
  readonly callSite?: CallSite | undefined;
  /** The stack trace that `--log_backtrace_at` asks for. */
  readonly stack?: string | undefined;
}

/** Turns a record into one whole line, its newline included. */
export type Format = (record: KlogRecord) => string;

/**
 * The severity of a record. LogTape's two levels below info are not used here: klog's levels take their place, and a
 * record of any of them is an INFO.
 */
export function severityOf(level: LogRecord["level"]): Severity {
  switch (level) {
    case "warning":
      return "WARNING";
    case "error":
      return "ERROR";
    case "fatal":
      return "FATAL";
    default:
      return "INFO";
  }
}

/** The message of a record, as it was given: braces in it are no place holders, since command output can have them. */
export function messageOf(record: LogRecord): string {
  return typeof record.rawMessage === "string" ? record.rawMessage : record.rawMessage.join("");
}

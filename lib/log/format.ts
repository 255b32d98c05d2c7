import { type CallSite, UNKNOWN_CALL_SITE } from "./call_site.ts";
import type { Severity } from "./config.ts";
import { escape, hex, quote, replaceUnprintable } from "../text.ts";
import { localTime } from "./time.ts";

/** Causes deeper than this are only hinted at; one may be its own cause. */
const MAX_DEPTH = 8;

/** All that a line tells of a record. */
export interface Entry {
  readonly severity: Severity;
  /** The klog level that it was logged at. @default {0} */
  readonly v?: number;
  /** Milliseconds since the Unix epoch, with a fraction. */
  readonly time: number;
  readonly message: string;
  /** Undefined ones are left out; `error` is what was thrown. */
  readonly properties: Readonly<Record<string, unknown>>;
  /** Undefined when nothing shows it. */
  readonly callSite: CallSite | undefined;
  /** The stack trace that `--log_backtrace_at` asks for. */
  readonly stack?: string | undefined;
}

/** Turns an entry into one line, its newline included. */
export type Format = (entry: Entry) => string;

/** Options of {@linkcode textFormat}. */
export interface TextOptions {
  readonly pid: number;
  /** Leaves out all that comes before the message. */
  readonly skipHeaders: boolean;
  /** Shows the directory of the source file, too. */
  readonly addDirHeader: boolean;
}

/**
 * Lines as klog writes them, in local time: `I0709 08:00:00.000042    1234 address.ts:12] Added address address="10.96.0.2"`.
 * Strings are quoted as Go's `%q` does, lists are JSON; `error` is shown as `err` and comes first.
 */
export function textFormat({ pid, skipHeaders, addDirHeader }: TextOptions): Format {
  return ({ severity, time, message, properties, callSite = UNKNOWN_CALL_SITE, stack }) => {
    const { error, ...rest } = properties;
    const shown = Object.entries({ ...rest, stack }).filter(([, value]) => value !== undefined);
    const body = escape(message) +
      (error === undefined ? "" : ` err=${quote(errorText(error))}`) +
      shown.map(([key, value]) => ` ${escape(key)}=${valueText(value)}`).join("");
    if (skipHeaders) return `${body}\n`;
    const { file, directory, line } = callSite;
    const path = addDirHeader && directory !== "" ? `${directory}/${file}` : file;
    return `${severity[0]}${timeText(time)} ${String(pid).padStart(7)} ${escape(path)}:${line}] ${body}\n`;
  };
}

/**
 * Lines as Kubernetes components write them in JSON: `ts` (Unix milliseconds), `caller`, `msg`, `v` in infos and in them
 * only, `err` in errors and in them only, null without an `error` property; a warning has neither. The record's own
 * properties follow; none takes the place of these.
 */
export function jsonFormat({ severity, v = 0, time, message, properties, callSite, stack }: Entry): string {
  const { error, ...rest } = properties;
  const { file, line } = callSite ?? UNKNOWN_CALL_SITE;
  const text = error === undefined ? undefined : errorText(error);
  const isError = severity === "ERROR" || severity === "FATAL";
  const keys = {
    ts: Math.round(time * 1000) / 1000,
    caller: `${file}:${line}`,
    msg: message,
    ...severity === "INFO" && { v },
    ...isError ? { err: text ?? null } : { error: text },
    stack,
  };
  return `${printableJson({ ...keys, ...rest, ...keys })}\n`;
}

/**
 * The text of what was thrown, its causes included, as Go's wrapped errors read: `cannot list: exit status 4: lock is held`.
 */
function errorText(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return String(error);
  if (depth === MAX_DEPTH) return "…";
  const parts = [error.message || error.name];
  if (error instanceof AggregateError) parts.push(error.errors.map((each) => errorText(each, depth + 1)).join("; "));
  if (error.cause !== undefined) parts.push(errorText(error.cause, depth + 1));
  return parts.filter((part) => part !== "").join(": ");
}

function valueText(value: unknown): string {
  return typeof value === "string" ? quote(value) : typeof value === "number" ? `${value}` : printableJson(value);
}

/** JSON with all that is not printable escaped. */
function printableJson(value: unknown): string {
  return replaceUnprintable(
    JSON.stringify(value),
    (character) => character.split("").map((unit) => `\\u${hex(unit.charCodeAt(0), 4)}`).join(""),
  );
}

/** `mmdd hh:mm:ss.uuuuuu`, local time. */
function timeText(time: number): string {
  const [, month, day, clock] = /-(\d\d)-(\d\d)T(.*)$/.exec(localTime(time)) ?? [];
  const micros = Math.min(Math.round((time % 1) * 1000), 999);
  return `${month}${day} ${clock}${String(micros).padStart(3, "0")}`;
}

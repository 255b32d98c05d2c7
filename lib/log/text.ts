import { UNKNOWN_CALL_SITE } from "./call_site.ts";
import { escape, escapeJson, quote } from "./quote.ts";
import { type Format, messageOf, severityOf } from "./record.ts";
import { errorText, plain } from "./value.ts";

/** Options of {@linkcode textFormat}. */
export interface TextOptions {
  readonly pid: number;
  /** Leaves out all that comes before the message. @default {false} */
  readonly skipHeaders?: boolean;
  /** Shows the directory of the source file, too. @default {false} */
  readonly addDirHeader?: boolean;
}

/**
 * Lines as klog writes them, in local time: `I0709 08:00:00.000042    1234 address.ts:12] Added address address="10.96.0.2"`.
 * Strings are quoted as Go's `%q` does, numbers and booleans bare, lists and objects as JSON; `error` is shown as `err`
 * and comes first; what is undefined is left out.
 */
export function textFormat(options: TextOptions): Format {
  const { pid, skipHeaders = false, addDirHeader = false } = options;
  const process = String(pid).padStart(7);
  return (record) => {
    const body = escape(messageOf(record)) + propertiesText(record.properties, record.stack);
    if (skipHeaders) return `${body}\n`;
    const { file, directory, line } = record.callSite ?? UNKNOWN_CALL_SITE;
    const path = addDirHeader && directory !== "" ? `${directory}/${file}` : file;
    const letter = severityOf(record.level)[0];
    return `${letter}${timeText(record.timestamp)} ${process} ${escape(path)}:${line}] ${body}\n`;
  };
}

function propertiesText(properties: Readonly<Record<string, unknown>>, stack: string | undefined): string {
  const { error, ...rest } = properties;
  let text = error === undefined ? "" : ` err=${quote(errorText(error))}`;
  for (const [key, value] of Object.entries(rest)) {
    if (value !== undefined) text += ` ${escape(key)}=${valueText(value)}`;
  }
  return stack === undefined ? text : `${text} stack=${quote(stack)}`;
}

function valueText(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  const shown = plain(value);
  return typeof shown === "string" ? quote(shown) : escapeJson(JSON.stringify(shown));
}

/** `mmdd hh:mm:ss.uuuuuu`, local time. */
function timeText(timestamp: number): string {
  const date = new Date(timestamp);
  const two = (n: number) => String(n).padStart(2, "0");
  const micros = String(Math.min(Math.round((timestamp % 1) * 1000), 999)).padStart(3, "0");
  const millis = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getMonth() + 1)}${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${millis}${micros}`;
}

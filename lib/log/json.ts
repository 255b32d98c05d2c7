import { UNKNOWN_CALL_SITE } from "./call_site.ts";
import { escapeJson } from "./quote.ts";
import { type Format, messageOf, severityOf } from "./record.ts";
import { errorText, type Plain, plain } from "./value.ts";

/** The keys that a record's own properties must not take. */
const FIXED: ReadonlySet<string> = new Set(["ts", "caller", "msg", "v", "err"]);

/**
 * Lines as Kubernetes components write them in JSON: `ts` (Unix milliseconds), `caller`, `msg`, `v` in infos and in them
 * only, `err` in errors and in them only, null without an `error` property; a warning has neither. The record's own
 * properties follow. One with a name of these keys gets a `_` behind it.
 */
export function jsonFormat(): Format {
  return (record) => {
    const { file, line } = record.callSite ?? UNKNOWN_CALL_SITE;
    const severity = severityOf(record.level);
    const { error, ...rest } = record.properties;
    const isError = severity === "ERROR" || severity === "FATAL";
    const keys = new Map<string, Plain>([
      ["ts", Math.round(record.timestamp * 1000) / 1000],
      ["caller", `${file}:${line}`],
      ["msg", messageOf(record)],
    ]);
    if (severity === "INFO") keys.set("v", record.v ?? 0);
    if (isError) keys.set("err", error === undefined ? null : errorText(error));
    else if (error !== undefined) keys.set("error", errorText(error));
    if (record.stack !== undefined) keys.set("stack", record.stack);
    for (const [key, value] of Object.entries(rest)) {
      if (value !== undefined) keys.set(freeKey(key, keys), plain(value));
    }
    return `${escapeJson(JSON.stringify(Object.fromEntries(keys)))}\n`;
  };
}

function freeKey(key: string, taken: ReadonlyMap<string, Plain>): string {
  return FIXED.has(key) || taken.has(key) ? freeKey(`${key}_`, taken) : key;
}

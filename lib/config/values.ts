/**
 * Readers of single flag values: each takes the text and gives the value, or throws a {@linkcode ValueError} whose
 * reason says what is accepted.
 *
 * @module
 */

import type { BindAddress } from "./config.ts";
import { parseDuration } from "./duration.ts";
import { parseIp } from "../ip.ts";
import { type LogConfig, type ModuleVerbosity, SEVERITIES, type Severity } from "../log/config.ts";
import { quote, ValueError } from "../text.ts";

const MIB = 2 ** 20;
const INT32 = 2 ** 31;

/** Reads a bool in one of the spellings of Go's strconv.ParseBool. */
export function parseBool(text: string): boolean {
  if (/^(?:1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw new ValueError("bool", text, "a bool is true or false");
}

/** Makes a reader of one of some exact words. */
export function choiceOf<const Word extends string>(...words: Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((word) => word === text);
    if (word === undefined) throw new ValueError("choice", text, `it is one of ${words.join(", ")}`);
    return word;
  };
}

/** Reads `auto`, `true` or `false`; the latter two in those spellings only. */
export function parseAutoBool(text: string): "auto" | boolean {
  const word = choiceOf("auto", "true", "false")(text);
  return word === "auto" ? word : word === "true";
}

/**
 * Makes a reader of durations, in milliseconds.
 *
 * @param least The shortest that is accepted, in milliseconds.
 */
export function durationFrom(least: number, accepted: string): (text: string) => number {
  return (text) => {
    const reason = `a duration is numbers with units (ns, us, ms, s, m, h), such as 1m30s, ${accepted}`;
    try {
      const ms = parseDuration(text);
      if (ms >= least) return ms;
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new ValueError("duration", text, `${error.reason}; ${reason}`);
    }
    throw new ValueError("duration", text, reason);
  };
}

/** Reads a port. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (/^[1-9]\d{0,4}$/.test(text) && port <= 65535) return port;
  throw new ValueError("port", text, "a port is a whole number from 1 to 65535");
}

/** Reads a log level as klog does: any int32, with or without a sign. */
export function parseLevel(text: string): number {
  const level = Number(text) + 0; // no negative zero
  if (/^[-+]?\d+$/.test(text) && level >= -INT32 && level < INT32) return level;
  throw new ValueError("level", text, `a level is a whole number from ${-INT32} to ${INT32 - 1}`);
}

/** Reads a size in MiB; gives bytes. A leading zero is refused, since Go reads an octal number there. */
export function parseMebibytes(text: string): number {
  const bytes = Number(text) * MIB;
  if (/^(?:0|[1-9]\d*)$/.test(text) && bytes <= Number.MAX_SAFE_INTEGER) return bytes;
  const most = Math.floor(Number.MAX_SAFE_INTEGER / MIB);
  throw new ValueError("size", text, `a size is a whole number of MiB from 0 to ${most}`);
}

/** Reads a severity: its name in any case, or its number. */
export function parseSeverity(text: string): Severity {
  const severity = SEVERITIES.find((name, number) => name === text.toUpperCase() || String(number) === text);
  if (severity !== undefined) return severity;
  throw new ValueError("severity", text, `a severity is one of ${SEVERITIES.join(", ")}, or its number, 0 to 3`);
}

// As Go's filepath.Match: an unclosed class or a last backslash makes a pattern that would never match.
const GLOB = /^(?:[^[\\]|\\.|\[(?!\^\])\^?(?:(?:\\.|[^\]\\-])(?:-(?:\\.|[^\]\\-]))?)+\])+$/su;

/** Reads `glob=N,...`. Empty elements are ignored, as in klog. */
export function parseVmodule(text: string): readonly ModuleVerbosity[] {
  return text.split(",").filter((element) => element !== "").map((element) => {
    const [pattern = "", digits = "", ...more] = element.split("=");
    const level = Number(digits);
    if (GLOB.test(pattern) && /^\d+$/.test(digits) && level < INT32 && more.length === 0) return { pattern, level };
    throw new ValueError("list", text, `${quote(element)} is not glob=N, such as iptables=4 or log*=2`);
  });
}

/** Reads `file:N`; undefined for an empty text. */
export function parseBacktrace(text: string): LogConfig["backtraceAt"] {
  if (text === "") return undefined;
  const [, file = "", line] = /^([^:]+):(\d+)$/.exec(text) ?? [];
  if (file.includes(".") && Number(line) > 0 && Number(line) < INT32) return { file, line: Number(line) };
  throw new ValueError("source line", text, "a source line is file.ts:N, with N from 1");
}

/** Reads a path; undefined for an empty text. */
export function parsePath(text: string): string | undefined {
  return text === "" ? undefined : text;
}

/**
 * Reads an interface name that the kernel takes (dev_valid_name in net/core/dev.c), or gives to the interface as it
 * stands: `%d` would be numbered. Quotes, `#` and `\` have a meaning of their own in `ip -batch`.
 */
export function parseInterface(text: string): string {
  const bytes = new TextEncoder().encode(text);
  const forbidden = /[\p{Cc}\p{Cs}\s/:%"'#\\]/u.test(text) || text === "." || text === "..";
  // The kernel's isspace() is Latin-1: it takes the byte a0 for a space, wherever it stands.
  if (bytes.length >= 1 && bytes.length <= 15 && !forbidden && !bytes.includes(0xa0)) return text;
  throw new ValueError(
    "interface name",
    text,
    "an interface name has 1 to 15 bytes, no white space and none of / : % \" ' # \\, and is not . or ..",
  );
}

// A last label that looks like a number would be read as a short or octal IPv4 address.
const HOST_NAME =
  /^(?=.{1,253}$)(?!(?:.*\.)?(?:\d+|0x[\da-f]*)$)[a-z\d](?:[a-z\d-]*[a-z\d])?(?:\.[a-z\d](?:[a-z\d-]*[a-z\d])?)*$/i;

/** Reads `host:port`, `:port`, or `port`; undefined for an empty text. */
export function parseBindAddress(text: string): BindAddress | undefined {
  if (text === "") return undefined;
  const [, host = "", port = ""] = /^(?:(.*):)?(\d+)$/s.exec(text) ?? [];
  try {
    return { hostname: host === "" ? "127.0.0.1" : parseHost(host), port: parsePort(port) };
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    const reason =
      "an address to listen on is host:port, [IPv6]:port or :port (of 127.0.0.1), the port from 1 to 65535";
    throw new ValueError("bind address", text, reason);
  }
}

function parseHost(host: string): string {
  const bracketed = /^\[([^\]]*:[^\]]*)\]$/.exec(host)?.[1];
  if (bracketed !== undefined) return parseIp(bracketed).ip;
  return HOST_NAME.test(host) ? host : ipv4(host);
}

function ipv4(host: string): string {
  const { family, ip } = parseIp(host);
  if (family === 4) return ip;
  throw new ValueError("host", host, "an IPv6 address is written in brackets");
}

/**
 * Readers of single flag values: each takes the text and gives the value, or throws a {@linkcode ValueError} whose
 * reason says what is accepted.
 *
 * @module
 */

import { parseDuration } from "./duration.ts";
import { type IpAddress, parseIp, parseProxyIp } from "../ip.ts";
import { type LogConfig, type ModuleVerbosity, SEVERITIES, type Severity } from "../log/config.ts";
import { globRegExp } from "../log/verbosity.ts";
import { quote, shorten, ValueError } from "../text.ts";

/** Where a server listens. */
export interface BindAddress {
  /** Host name or IP address, without brackets; `127.0.0.1` when only a port was given. */
  readonly hostname: string;
  readonly port: number;
}

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

/** Reads the interval between passes, in milliseconds. */
export function parseInterval(text: string): number {
  const ms = parseDuration(text);
  if (ms >= 1) return ms;
  throw new ValueError("interval", text, "it has to be 1ms or longer");
}

/** Reads how long something may take, in milliseconds. */
export function parseTimeout(text: string): number {
  const ms = parseDuration(text);
  if (ms > 0) return ms;
  throw new ValueError("timeout", text, "it has to be longer than 0");
}

/** Reads an address for the proxy. pflag drops quotes around it; manifests have them, since no shell takes them off there. */
export function parseAddress(text: string): IpAddress {
  return parseProxyIp(text.replaceAll(/["'`]/g, "").trim());
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

/** Reads `glob=N,...`. Empty elements are ignored, as in klog. */
export function parseVmodule(text: string): readonly ModuleVerbosity[] {
  return text.split(",").filter((element) => element !== "").map((element) => {
    const [, glob = "", level] = /^([^=]+)=(\d+)$/s.exec(element) ?? [];
    const module = globRegExp(glob);
    if (module !== undefined && Number(level) < INT32) return { module, level: Number(level) };
    throw new ValueError("list", text, `${quote(shorten(element))} is not glob=N, such as process=4 or log*=2`);
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
 * Reads the name, or an alternative name (ALTIFNAMSIZ), of an interface. Nothing in it has a meaning of its own: `/` and
 * `:` to the kernel, `%` in a name to be numbered, quotes, `#` and `\` in `ip -batch`.
 */
export function parseInterface(text: string): string {
  const bytes = new TextEncoder().encode(text);
  // Names are mostly such; reading classes of Unicode takes V8 some tenths of a millisecond.
  const forbidden = !/^[\w.@-]+$/.test(text) && /[\p{Cc}\p{Cs}\s/:%"'#\\]/u.test(text) || text === "." || text === "..";
  // The kernel's isspace() is Latin-1: it takes the byte a0 for a space, wherever it stands.
  if (bytes.length >= 1 && bytes.length <= 127 && !forbidden && !bytes.includes(0xa0)) return text;
  throw new ValueError(
    "interface name",
    text,
    "an interface name has 1 to 15 bytes, an alternative name up to 127, no white space and none of / : % \" ' # \\, " +
      "and is not . or ..",
  );
}

/** Whether an interface can be created under this name, one that {@linkcode parseInterface} took (IFNAMSIZ). */
export function isInterfaceName(name: string): boolean {
  return new TextEncoder().encode(name).length <= 15;
}

// A last label that looks like a number would be read as a short or octal IPv4 address.
const HOST_NAME =
  /^(?=.{1,253}$)(?!(?:.*\.)?(?:\d+|0x[\da-f]*)$)[a-z\d](?:[a-z\d-]*[a-z\d])?(?:\.[a-z\d](?:[a-z\d-]*[a-z\d])?)*$/i;

/** Reads `host:port`, `:port`, or `port`; undefined for an empty text. */
export function parseBindAddress(text: string): BindAddress | undefined {
  if (text === "") return undefined;
  const [, host = "", port] = /^(?:(.*):)?(\d+)$/s.exec(text) ?? [];
  if (port === undefined) {
    throw new ValueError(
      "bind address",
      text,
      "an address to listen on is host:port, [IPv6]:port or :port (of 127.0.0.1)",
    );
  }
  return { hostname: parseHost(host), port: parsePort(port) };
}

// The resolver may give ::1 first for localhost, and then a probe of 127.0.0.1 is refused.
function parseHost(host: string): string {
  if (["", "localhost"].includes(host.toLowerCase())) return "127.0.0.1";
  if (HOST_NAME.test(host)) return host;
  const bracketed = /^\[(.*)\]$/s.exec(host)?.[1];
  const { family, ip } = parseIp(bracketed ?? host);
  if (bracketed !== undefined || family === 4) return ip;
  throw new ValueError("host", host, "an IPv6 address is written in brackets");
}

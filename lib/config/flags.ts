import { parseArgs } from "@std/cli/parse-args";
import { printable, quote } from "../text.ts";

/** One flag of the command line. */
export interface Flag<Name extends string = string> {
  readonly name: Name;
  /** What its value is, as the usage names it; only a `bool` may go without one. */
  readonly kind: string;
  /** As it would be written; empty: there is none. */
  readonly default: string;
  readonly help: string;
}

function flag<Name extends string>(name: Name, kind: string, byDefault: string, help: string): Flag<Name> {
  return { name, kind, default: byDefault, help };
}

const GROUPS = {
  Address: [
    flag("ip-address", "IPs", "", "address(es) the proxy listens on; required"),
    flag("interface", "name", "lo", "interface to put the address on"),
    flag("port", "ports", "443", "port(s) the proxy listens on"),
    flag("address-scope", "auto|host|link|global", "auto", "auto: host on loopback, else global"),
    flag("deduplicate", "auto|true|false", "auto", "remove the address from other interfaces"),
  ],
  Firewall: [
    flag("setup-iptables", "bool", "false", "set up the iptables rules"),
    flag("iptables-mode", "auto|nft|legacy", "auto", "iptables back end to drive"),
  ],
  Running: [
    flag("daemon", "bool", "true", "keep running; false: one pass, then exit"),
    flag("sync-interval", "duration", "1m0s", "how often everything is checked"),
    flag("watch", "bool", "true", "repair at once on kernel events"),
    flag("cleanup", "bool", "false", "remove addresses and rules on exit"),
    flag("command-timeout", "duration", "10s", "longest time for one ip or iptables"),
    flag("help", "bool", "false", "print this and exit"),
    flag("version", "bool", "false", "print the version and exit"),
  ],
  Logging: [
    flag("v", "level", "0", "log verbosity"),
    flag("vmodule", "glob=N,...", "", "log verbosity per source module"),
    flag("logging-format", "text|json", "text", "klog text or JSON lines"),
    flag("logtostderr", "bool", "true", "log to standard error, not to files"),
    flag("alsologtostderr", "bool", "false", "log to standard error and to files"),
    flag("stderrthreshold", "severity", "2", "severity that goes to stderr too, 0 to 3"),
    flag("log_dir", "directory", "", "write log files in this directory"),
    flag("log_file", "file", "", "write this log file"),
    flag("log_file_max_size", "MiB", "1800", "size to rotate a log file at; 0: never"),
    flag("skip_headers", "bool", "false", "no header prefix on log lines"),
    flag("skip_log_headers", "bool", "false", "no header block in log files"),
    flag("add_dir_header", "bool", "false", "add the file's directory to the header"),
    flag("one_output", "bool", "false", "log only to the severity's own file"),
    flag("log_backtrace_at", "file:N", "", "add a stack trace when that line logs"),
  ],
  Observing: [
    flag("check", "bool", "false", "change nothing, print what is there and what is wrong"),
    flag("output", "text|json", "text", "format of --check"),
    flag("metrics-bind-address", "host:port", "", "serve Prometheus metrics at /metrics"),
    flag("health-probe-bind-address", "host:port", "", "serve /healthz and /readyz; may be the metrics address"),
  ],
} as const;

/** Every flag, in the order of the usage. */
export const FLAGS = Object.values(GROUPS).flat();

/** The name of a flag, without dashes. */
export type FlagName = typeof FLAGS[number]["name"];

const BY_NAME: ReadonlyMap<string, Flag<FlagName>> = new Map(FLAGS.map((flag) => [flag.name, flag]));
const SHORT: Readonly<Record<string, FlagName>> = { h: "help", v: "v" };

/** A command line, taken apart. */
export interface ParsedFlags {
  /** The values given for each flag, in order; those of a bool without a value are `true`. */
  readonly values: Readonly<Record<FlagName, readonly string[]>>;
  /** How a flag was last written: `-v` or `--v`. */
  readonly spelling: ReadonlyMap<FlagName, string>;
  /** One line for each word that is no flag, is no known flag, or lacks its value. */
  readonly errors: readonly string[];
}

/**
 * Takes a command line apart as {@link https://github.com/spf13/pflag | spf13/pflag} does, except that arguments which
 * are not flags are errors. The values are not looked at.
 */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const words: string[] = [];
  const spelling = new Map<FlagName, string>();
  const errors: string[] = [];
  let bareBool = "";
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? "";
    if (word === "--") {
      for (const stray of argv.slice(i + 1)) errors.push(describeStray(stray, ""));
      break;
    }
    if (word === "-" || !word.startsWith("-")) {
      errors.push(describeStray(word, bareBool));
      bareBool = "";
      continue;
    }
    const { name, written, value } = split(word);
    const flag = BY_NAME.get(name);
    bareBool = flag?.kind === "bool" && value === undefined ? written : "";
    if (flag === undefined) {
      errors.push(`${printable(written)}: unknown flag: the closest is --${closest(written)}`);
      // What follows is most likely its value, and not worth an error of its own.
      if (value === undefined && argv[i + 1]?.startsWith("-") === false) i++;
      continue;
    }
    const text = value ?? (flag.kind === "bool" ? "true" : argv[++i]);
    if (text === undefined) {
      errors.push(`${written}: its value is missing: ${flag.kind}`);
    } else {
      words.push(`--${name}=${text}`);
      spelling.set(flag.name, written);
    }
  }
  // parseArgs reads many words differently from pflag (`--bool false`, `--no-x`, `--a.b`, `-v -1`), but not these.
  const names = FLAGS.map((flag) => flag.name);
  const values = parseArgs(words, { string: names, collect: names }) as unknown as Record<FlagName, string[]>;
  return { values, spelling, errors };
}

function split(word: string): { readonly name: string; readonly written: string; readonly value: string | undefined } {
  const [written = ""] = word.split("=", 1);
  const value = written === word ? undefined : word.slice(written.length + 1);
  if (written.startsWith("--")) return { name: written.slice(2), written, value };
  const name = SHORT[word.charAt(1)];
  // -version and -vmodule=... are slips, not levels.
  if (name === undefined || (name !== "help" && written.length > 2 && BY_NAME.has(written.slice(1)))) {
    return { name: written, written, value };
  }
  // pflag prints its help for every word that starts with -h.
  if (name === "help") return { name, written: "-h", value: "true" };
  return { name, written: word.slice(0, 2), value: word.length > 2 ? word.slice(2).replace(/^=/, "") : undefined };
}

function describeStray(word: string, bareBool: string): string {
  return bareBool === ""
    ? `${quote(word)}: cannot use an argument that is not the value of a flag`
    : `${bareBool}: cannot use ${quote(word)}: a bool takes its value after "=": use ${bareBool}=${printable(word)}`;
}

function closest(written: string): FlagName {
  const wanted = comparable(written);
  const distances = FLAGS.map(({ name }) => editDistance(wanted, comparable(name)));
  return FLAGS[distances.indexOf(Math.min(...distances))]?.name ?? "help";
}

function comparable(name: string): string {
  return name.slice(0, 64).replace(/^-+/, "").replaceAll("_", "-").toLowerCase();
}

/** The number of letters to insert, remove or replace to get from one text to the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (letter === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** The text of `--help`: every flag with its default, but not the false of a bool; at most 100 columns wide. */
export function usage(): string {
  const signature = ({ name, kind }: Flag) =>
    `${name === "v" ? "  -v, " : name === "help" ? "  -h, " : "      "}--${name}${kind === "bool" ? "" : ` ${kind}`}`;
  const width = Math.max(...FLAGS.map((flag) => signature(flag).length));
  const groups = Object.entries(GROUPS).map(([title, flags]) =>
    [
      `${title}:`,
      ...flags.map((flag: Flag) => {
        const byDefault = ["", "false"].includes(flag.default) ? "" : ` (default ${flag.default})`;
        return `${signature(flag).padEnd(width)}  ${flag.help}${byDefault}`;
      }),
    ].join("\n")
  );
  return `Usage: apiserver-proxy-sidecar --ip-address=IP[,IP...] [flags]

Keeps the address of an API server proxy, and the firewall rules for it, on this node.
Lists are separated by commas, or the flag is repeated. A bool takes its value only after "="
and is false unless it says otherwise.

${groups.join("\n\n")}
`;
}

/**
 * Every flag of the command line, with all that is known of it.
 *
 * @module
 */
import * as read from "./values.ts";

/** One flag of the command line. */
export interface Flag<Value = unknown> {
  /** What its value is, as the usage names it; only a `bool` may go without one. */
  readonly kind: string;
  /** As it would be written; empty: there is none. */
  readonly default: string;
  readonly help: string;
  /** Reads one value; throws a ValueError whose reason says what is accepted. */
  readonly read: (text: string) => Value;
}

/** A flag that collects: all values of all times it is given. */
export interface ListFlag<Element = unknown> extends Flag<Element> {
  readonly list: true;
}

function flag<Value>(kind: string, byDefault: string, help: string, read: (text: string) => Value): Flag<Value> {
  return { kind, default: byDefault, help, read };
}

function list<Value>(kind: string, byDefault: string, help: string, read: (text: string) => Value): ListFlag<Value> {
  return { kind, default: byDefault, help, read, list: true };
}

function bool(byDefault: "true" | "false", help: string): Flag<boolean> {
  return flag("bool", byDefault, help, read.parseBool);
}

function choice<const Word extends string>(words: readonly Word[], byDefault: NoInfer<Word>, help: string): Flag<Word> {
  return flag(words.join("|"), byDefault, help, read.choiceOf(...words));
}

/** The flags under the headings of the usage. */
export const GROUPS = {
  Address: {
    "ip-address": list("IPs", "", "address(es) the proxy listens on; required", read.parseAddress),
    "interface": flag("name", "lo", "interface to put the address on", read.parseInterface),
    "port": list("ports", "443", "port(s) the proxy listens on", read.parsePort),
    "address-scope": choice(["auto", "host", "link", "global"], "auto", "auto: host on loopback, else global"),
    "deduplicate": choice(["auto", "true", "false"], "auto", "remove the address from other interfaces"),
  },
  Firewall: {
    "setup-iptables": bool("false", "set up the iptables rules"),
    "iptables-mode": choice(["auto", "nft", "legacy"], "auto", "iptables back end to drive"),
  },
  Running: {
    "daemon": bool("true", "keep running; false: one pass, then exit"),
    "sync-interval": flag("duration", "1m0s", "how often everything is checked", read.parseInterval),
    "watch": bool("true", "repair at once on kernel events"),
    "cleanup": bool("false", "remove addresses and rules on exit"),
    "command-timeout": flag("duration", "10s", "longest time for one ip or iptables", read.parseTimeout),
    "help": bool("false", "print this and exit"),
    "version": bool("false", "print the version and exit"),
  },
  Logging: {
    "v": flag("level", "0", "log verbosity", read.parseLevel),
    "vmodule": flag("glob=N,...", "", "log verbosity per source module", read.parseVmodule),
    "logging-format": choice(["text", "json"], "text", "klog text or JSON lines"),
    "logtostderr": bool("true", "log to standard error, not to files"),
    "alsologtostderr": bool("false", "log to standard error and to files"),
    "stderrthreshold": flag("severity", "2", "severity that goes to stderr too, 0 to 3", read.parseSeverity),
    "alsologtostderrthreshold": flag("severity", "0", "severity that --alsologtostderr is for", read.parseSeverity),
    "legacy_stderr_threshold_behavior": bool("true", "--logtostderr ignores --stderrthreshold"),
    "log_dir": flag("directory", "", "write log files in this directory", read.parsePath),
    "log_file": flag("file", "", "write this log file", read.parsePath),
    "log_file_max_size": flag("MiB", "1800", "size to rotate a log file at; 0: never", read.parseMebibytes),
    "skip_headers": bool("false", "no header prefix on log lines"),
    "skip_log_headers": bool("false", "no header block in log files"),
    "add_dir_header": bool("false", "add the file's directory to the header"),
    "one_output": bool("false", "log only to the severity's own file"),
    "log_backtrace_at": flag("file:N", "", "add a stack trace when that line logs", read.parseBacktrace),
  },
  Observing: {
    "check": bool("false", "change nothing, print what is there and what is wrong"),
    "output": choice(["text", "json"], "text", "format of --check"),
    "metrics-bind-address": flag("host:port", "", "serve Prometheus metrics at /metrics", read.parseBindAddress),
    "health-probe-bind-address": flag(
      "host:port",
      "",
      "serve /healthz and /readyz; may be the metrics address",
      read.parseBindAddress,
    ),
  },
};

/** Every flag by its name without dashes, in the order of the usage. */
export const FLAGS = {
  ...GROUPS.Address,
  ...GROUPS.Firewall,
  ...GROUPS.Running,
  ...GROUPS.Logging,
  ...GROUPS.Observing,
};

/** The name of a flag, without dashes. */
export type FlagName = keyof typeof FLAGS;

/** What a command line gives for each flag. */
export type FlagValues = {
  readonly [Name in FlagName]: typeof FLAGS[Name] extends ListFlag<infer Element> ? readonly Element[]
    : typeof FLAGS[Name] extends Flag<infer Value> ? Value
    : never;
};

/** One-letter names, as `-v`. */
export const SHORT_NAMES: Readonly<Record<string, FlagName>> = { h: "help", v: "v" };

/** The text of `--help`: every flag with its default, but not the false of a bool; at most 100 columns wide. */
export function usage(): string {
  const signature = ([name, { kind }]: readonly [string, Flag]) => {
    const short = SHORT_NAMES[name.charAt(0)] === name ? `-${name.charAt(0)}, ` : "";
    return `  ${short.padEnd(4)}--${name}${kind === "bool" ? "" : ` ${kind}`}`;
  };
  const width = Math.max(...Object.entries(FLAGS).map((entry) => signature(entry).length));
  const groups = Object.entries(GROUPS).map(([title, flags]) => {
    const lines = Object.entries<Flag>(flags).map((entry) => {
      const [, { default: byDefault, help }] = entry;
      const note = ["", "false"].includes(byDefault) ? "" : ` (default ${byDefault})`;
      return `${signature(entry).padEnd(width)}  ${help}${note}`;
    });
    return `${title}:\n${lines.join("\n")}\n`;
  });
  return `Usage: apiserver-proxy-sidecar --ip-address=IP[,IP...] [flags]

Keeps the address of an API server proxy, and the firewall rules for it, on this node.
Lists are separated by commas, or the flag is repeated. A bool takes its value only after "="
and is false unless it says otherwise.

${groups.join("\n")}`;
}

import { type FlagName, FLAGS, parseFlags } from "./flags.ts";
import { parseProxyIp } from "../ip.ts";
import type { LogConfig } from "../log/config.ts";
import { quote, ValueError } from "../text.ts";
import * as read from "./values.ts";

/** Scope that an address can be given; see ip-address(8). */
export type Scope = "host" | "link" | "global";

/** An IP address in canonical form (RFC 5952). */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly ip: string;
}

/** Where a server listens. */
export interface BindAddress {
  /** Host name or IP address, without brackets; `127.0.0.1` when only a port was given. */
  readonly hostname: string;
  readonly port: number;
}

/** Everything the command line says, validated and frozen; durations in milliseconds. */
export interface Config {
  readonly addresses: readonly IpAddress[];
  readonly interface: string;
  readonly ports: readonly number[];
  readonly setupIptables: boolean;
  readonly syncInterval: number;
  readonly daemon: boolean;
  readonly cleanup: boolean;
  readonly watch: boolean;
  readonly iptablesMode: "auto" | "nft" | "legacy";
  readonly addressScope: "auto" | Scope;
  readonly deduplicate: "auto" | boolean;
  readonly check: boolean;
  readonly output: "text" | "json";
  readonly metricsBindAddress: BindAddress | undefined;
  readonly healthProbeBindAddress: BindAddress | undefined;
  readonly commandTimeout: number;
  readonly log: LogConfig;
}

/** What a command line comes to. */
export type ParseResult =
  | { readonly kind: "config"; readonly config: Config }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  /** One line for each thing that is wrong: the flag as it was written, the value, what is accepted. */
  | { readonly kind: "errors"; readonly errors: readonly string[] };

/**
 * Reads a whole command line and reports everything that is wrong with it. Help wins over version, and both over errors.
 *
 * @param argv The words after the name of the program.
 */
export function parseConfig(argv: readonly string[]): ParseResult {
  const { values, spelling, errors: flagErrors } = parseFlags(argv);
  const errors = [...flagErrors];

  function attempt(name: FlagName, text: string, use: () => void): void {
    try {
      use();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      errors.push(`${spelling.get(name)}: cannot use ${quote(text)}: ${error.reason}`);
    }
  }

  // The last value counts; the ones before it must be right all the same, as for pflag.
  function one<T>(name: FlagName, parse: (text: string) => T): T {
    let value = parse(byDefault(name));
    for (const text of values[name]) attempt(name, text, () => value = parse(text));
    return value;
  }

  function list<T>(name: FlagName, parse: (text: string) => T, key: (value: T) => string | number): readonly T[] {
    const found = new Map<string | number, T>();
    for (const text of values[name].flatMap((list) => list.split(",")).map((element) => element.trim())) {
      attempt(name, text, () => {
        const value = parse(text);
        if (found.has(key(value))) throw new ValueError("list", text, `${key(value)} is in the list twice`);
        found.set(key(value), value);
      });
    }
    return [...found.values()];
  }

  const addresses = list("ip-address", unquoted(parseProxyIp), ({ ip }) => ip);
  if (values["ip-address"].length === 0) {
    errors.push("--ip-address: required: the address that the proxy listens on, such as --ip-address=10.96.0.2");
  }
  const ports = values.port.length === 0
    ? [read.parsePort(byDefault("port"))]
    : list("port", read.parsePort, (port) => port);
  const config: Config = {
    addresses,
    interface: one("interface", read.parseInterface),
    ports,
    setupIptables: one("setup-iptables", read.parseBool),
    syncInterval: one("sync-interval", read.durationFrom(1, "from 1ms")),
    daemon: one("daemon", read.parseBool),
    cleanup: one("cleanup", read.parseBool),
    watch: one("watch", read.parseBool),
    iptablesMode: one("iptables-mode", read.choiceOf("auto", "nft", "legacy")),
    addressScope: one("address-scope", read.choiceOf("auto", "host", "link", "global")),
    deduplicate: one("deduplicate", read.parseAutoBool),
    check: one("check", read.parseBool),
    output: one("output", read.choiceOf("text", "json")),
    metricsBindAddress: one("metrics-bind-address", read.parseBindAddress),
    healthProbeBindAddress: one("health-probe-bind-address", read.parseBindAddress),
    commandTimeout: one("command-timeout", read.durationFrom(Number.MIN_VALUE, "longer than 0")),
    log: {
      verbosity: one("v", read.parseLevel),
      vmodule: one("vmodule", read.parseVmodule),
      format: one("logging-format", read.choiceOf("text", "json")),
      toStderr: one("logtostderr", read.parseBool),
      alsoToStderr: one("alsologtostderr", read.parseBool),
      stderrThreshold: one("stderrthreshold", read.parseSeverity),
      dir: one("log_dir", read.parsePath),
      file: one("log_file", read.parsePath),
      fileMaxSize: one("log_file_max_size", read.parseMebibytes),
      skipHeaders: one("skip_headers", read.parseBool),
      skipLogHeaders: one("skip_log_headers", read.parseBool),
      addDirHeader: one("add_dir_header", read.parseBool),
      oneOutput: one("one_output", read.parseBool),
      backtraceAt: one("log_backtrace_at", read.parseBacktrace),
    },
  };
  const help = one("help", read.parseBool);
  const version = one("version", read.parseBool);
  if (help) return { kind: "help" };
  if (version) return { kind: "version" };
  errors.push(...contradictions(config));
  // One word repeated is one mistake.
  return errors.length > 0
    ? { kind: "errors", errors: [...new Set(errors)] }
    : { kind: "config", config: freeze(config) };
}

function byDefault(name: FlagName): string {
  return FLAGS.find((flag) => flag.name === name)?.default ?? "";
}

// pflag drops quotes around addresses; manifests have them, since no shell takes them off there.
function unquoted<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => parse(text.replaceAll(/["'`]/g, "").trim());
}

function contradictions(config: Config): string[] {
  const errors: string[] = [];
  if (config.check && config.cleanup) errors.push("--check: cannot use it with --cleanup: a check changes nothing");
  const taken = ["0.0.0.0", "::", ...config.addresses.map(({ ip }) => ip)];
  const servers = [
    ["--metrics-bind-address", config.metricsBindAddress],
    ["--health-probe-bind-address", config.healthProbeBindAddress],
  ] as const;
  for (const [flag, address] of servers) {
    if (address !== undefined && config.ports.includes(address.port) && taken.includes(address.hostname)) {
      errors.push(`${flag}: cannot use port ${address.port} of ${address.hostname}: it is the proxy's (see --port)`);
    }
  }
  return errors;
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(value).forEach(freeze);
  return Object.freeze(value);
}

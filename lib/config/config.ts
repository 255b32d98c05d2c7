import { parseCommandLine } from "./command_line.ts";
import type { FlagValues } from "./flags.ts";
import type { AddressScope, IpAddress } from "../ip.ts";
import type { LogConfig } from "../log/config.ts";
import type { BindAddress } from "./values.ts";

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
  readonly addressScope: "auto" | AddressScope;
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
  /** One line for each thing that is wrong: the flag, the value, what is accepted. */
  | { readonly kind: "errors"; readonly errors: readonly string[] };

/**
 * Reads a whole command line and reports everything that is wrong with it. Help wins over version, and both over errors.
 *
 * @param argv The words after the name of the program.
 */
export function parseConfig(argv: readonly string[]): ParseResult {
  const { values, errors } = parseCommandLine(argv);
  if (values.help) return { kind: "help" };
  if (values.version) return { kind: "version" };
  const config = configOf(values);
  // One word repeated is one mistake.
  const all = new Set([...errors, ...contradictions(config)]);
  return all.size > 0 ? { kind: "errors", errors: [...all] } : { kind: "config", config: freeze(config) };
}

function configOf(values: FlagValues): Config {
  const { deduplicate } = values;
  return {
    addresses: values["ip-address"],
    interface: values.interface,
    ports: values.port,
    setupIptables: values["setup-iptables"],
    syncInterval: values["sync-interval"],
    daemon: values.daemon,
    cleanup: values.cleanup,
    watch: values.watch,
    iptablesMode: values["iptables-mode"],
    addressScope: values["address-scope"],
    deduplicate: deduplicate === "auto" ? deduplicate : deduplicate === "true",
    check: values.check,
    output: values.output,
    metricsBindAddress: values["metrics-bind-address"],
    healthProbeBindAddress: values["health-probe-bind-address"],
    commandTimeout: values["command-timeout"],
    log: {
      verbosity: values.v,
      vmodule: values.vmodule,
      format: values["logging-format"],
      toStderr: values.logtostderr,
      alsoToStderr: values.alsologtostderr,
      stderrThreshold: values.stderrthreshold,
      alsoToStderrThreshold: values.alsologtostderrthreshold,
      legacyThreshold: values.legacy_stderr_threshold_behavior,
      dir: values.log_dir,
      file: values.log_file,
      fileMaxSize: values.log_file_max_size,
      skipHeaders: values.skip_headers,
      skipLogHeaders: values.skip_log_headers,
      addDirHeader: values.add_dir_header,
      oneOutput: values.one_output,
      backtraceAt: values.log_backtrace_at,
    },
  };
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

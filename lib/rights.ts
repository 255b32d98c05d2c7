import type { Config } from "./config/config.ts";
import { iptablesProgram } from "./node/iptables.ts";

/** Programs that are started only when rules are kept. */
const RULE_PROGRAMS = [
  ...([4, 6] as const).flatMap((family) =>
    ([undefined, "nft", "legacy"] as const).flatMap((backend) =>
      (["restore", "save"] as const).map((what) => iptablesProgram(what, family, backend))
    )
  ),
  "nft",
  "prlimit",
  "stdbuf",
  "xtables-monitor",
];

/** Where programs are looked for in an environment without a PATH. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** All that programs are told of the environment: where programs are, and what iptables(8) reads. */
export function environmentOfCommands(): Readonly<Record<string, string>> {
  const inherited = ["PATH", "XTABLES_LOCKFILE", "XTABLES_LIBDIR"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  return { PATH: DEFAULT_PATH, ...Object.fromEntries(inherited) };
}

/** Gives up, for good, to listen anywhere or to connect to anything; what listens already goes on. */
export function dropNetwork(): void {
  Deno.permissions.revokeSync({ name: "net" });
}

/**
 * Gives up, for good, every right of the Deno sandbox that the command line does not need: writing and reading files and the
 * host's name without log files, the network without an address to serve, iptables and nft without rules to keep.
 */
export function dropRights(config: Config): void {
  const { log, metricsBindAddress, healthProbeBindAddress, setupIptables } = config;
  const drop = (descriptor: Deno.PermissionDescriptor) => Deno.permissions.revokeSync(descriptor);
  if (log.toStderr) {
    drop({ name: "write" });
    drop({ name: "read" });
    drop({ name: "sys" });
  }
  if (metricsBindAddress === undefined && healthProbeBindAddress === undefined) dropNetwork();
  if (!setupIptables) { for (const command of RULE_PROGRAMS) drop({ name: "run", command }); }
  drop({ name: "env" });
  drop({ name: "ffi" });
  drop({ name: "import" });
}

import type { Config } from "./config/config.ts";

/** Programs that are started only when rules are kept; the same names as in deno.json. */
const RULE_PROGRAMS = [
  "iptables-restore",
  "ip6tables-restore",
  "iptables-nft-restore",
  "ip6tables-nft-restore",
  "iptables-legacy-restore",
  "ip6tables-legacy-restore",
  "iptables-save",
  "ip6tables-save",
  "iptables-nft-save",
  "ip6tables-nft-save",
  "iptables-legacy-save",
  "ip6tables-legacy-save",
  "nft",
] as const;

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

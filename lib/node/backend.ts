/**
 * Which back end of iptables the node uses: rules in the other one would stand, but a firewall in this one would not see them.
 *
 * @module
 */
import { type CommandOptions, type CommandResult, type CommandRunner, runCommand } from "./process.ts";
import { type Backend, iptablesProgram, judgeSaved } from "./iptables.ts";
import type { Rule } from "../desired/rules.ts";

/** Chains that the kubelet makes in the back end that it uses; as kubernetes-sigs/iptables-wrappers v3 looks for them. */
const HINT = /^:(?:KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY)/m;

/** What {@linkcode detectBackend} found. */
export interface Detected {
  /** Undefined: only the plain command names are installed, which then drive the only back end there is. */
  readonly backend: Backend;
  /** The kubelet left its mark, so this will not change. */
  readonly certain: boolean;
}

/** Finds the back end that the node uses. Creates no table, and takes no lock. */
export async function detectBackend(runner: CommandRunner, options: CommandOptions): Promise<Detected> {
  const mangle = (backend: "nft" | "legacy") =>
    Promise.all(([4, 6] as const).map((family) => list(runner, family, backend, "mangle", options)));
  const [nft, legacy] = await Promise.all([mangle("nft"), mangle("legacy")]);
  const hints = ({ stdout }: CommandResult) => HINT.test(stdout);
  if (nft.some(hints)) return { backend: "nft", certain: true };
  if (legacy.some(hints)) return { backend: "legacy", certain: true };
  const isMissing = ({ error }: CommandResult) => error?.kind === "missing-program";
  return { backend: !nft.every(isMissing) ? "nft" : !legacy.every(isMissing) ? "legacy" : undefined, certain: false };
}

/**
 * Whether rules of ours stand in a back end that is not used: an earlier run left them there. Creates no table, and takes no
 * lock.
 */
export async function hasStrayRules(
  runner: CommandRunner,
  rules: readonly Rule[],
  backend: "nft" | "legacy",
  options: CommandOptions,
): Promise<boolean> {
  const looks = Map.groupBy(rules, ({ family, table }) => `${family} ${table}`).values().map(async (own) => {
    const { family, table } = own[0]!;
    const { stdout } = await list(runner, family, backend, table, options);
    return judgeSaved(own, stdout).some(({ state }) => state !== "missing");
  });
  return (await Promise.all(looks)).some(Boolean);
}

/** Lists one table, or with the legacy back end all that there are: naming one there would make the kernel create it. */
function list(
  runner: CommandRunner,
  family: 4 | 6,
  backend: "nft" | "legacy",
  table: string,
  options: CommandOptions,
): Promise<CommandResult> {
  const program = iptablesProgram("save", family, backend);
  return runCommand(runner, backend === "nft" ? [program, "-t", table] : [program], options);
}

/**
 * Which back end of iptables the node uses: rules in the other one would stand, but a firewall in this one would not see them.
 *
 * @module
 */
import type { Desired } from "../desired/desired.ts";
import { type Backend, iptablesProgram } from "./iptables.ts";
import { END, linesOf } from "./iptables_language.ts";
import { legacyTables, savedLook } from "./iptables_save.ts";
import { type CommandOptions, type CommandResult, type CommandRunner, runCommand } from "./process.ts";

/** Chains that the kubelet makes in the back end that it uses, as kubernetes-sigs/iptables-wrappers v3 looks for them. */
const HINTS = ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"] as const;
const FAMILIES = [4, 6] as const;

/**
 * What was found of the back end that the node uses. `guessed`: no kubelet has left its mark, so that it may still turn out to
 * be another one. A back end that is undefined: only the plain command names are installed, which drive the only one there is.
 */
export interface FoundBackend {
  readonly certainty: "guessed" | "certain";
  readonly backend: Backend;
}

/** What is known of the back end that the node uses. */
export type BackendState = { readonly certainty: "unknown" } | FoundBackend;

/**
 * Finds the back end that the node uses. Creates no table, takes no lock, and reads no more than one table that may hold the
 * mark, however many rules the others hold.
 */
export async function detectBackend(runner: CommandRunner, options: CommandOptions): Promise<FoundBackend> {
  const nft = await Promise.all(
    FAMILIES.flatMap((family) => HINTS.map((hint) => findNftHint(runner, family, hint, options))),
  );
  if (nft.some(({ found }) => found)) return { certainty: "certain", backend: "nft" };
  const legacy = await Promise.all(FAMILIES.map((family) => findLegacyHint(runner, family, options)));
  if (legacy.some(Boolean)) return { certainty: "certain", backend: "legacy" };
  const isInstalled = !nft.every(({ result }) => isMissing(result));
  return { certainty: "guessed", backend: isInstalled ? "nft" : await otherThanNft(runner, options) };
}

/**
 * The back end that is not used, if rules of ours stand in it: an earlier run left them there. Creates no table, and takes no
 * lock.
 *
 * @param used The back end that is used.
 */
export async function findStrays(
  { rules }: Desired,
  used: Backend,
  { runner, commandTimeout: timeout, signal }: {
    readonly runner: CommandRunner;
    readonly commandTimeout: number;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Backend> {
  if (rules.length === 0 || used === undefined || signal?.aborted) return undefined;
  const backend = used === "nft" ? "legacy" : "nft";
  const looks = [...Map.groupBy(rules, ({ family }) => family).values()].map((own) =>
    savedLook(runner, own, { backend, timeout, signal })
  );
  const findings = (await Promise.all(looks)).flatMap(({ findings }) => findings);
  return findings.some(({ state }) => state !== "missing") ? backend : undefined;
}

async function findNftHint(
  runner: CommandRunner,
  family: 4 | 6,
  hint: string,
  options: CommandOptions,
): Promise<{ readonly found: boolean; readonly result: CommandResult }> {
  // `iptables-nft-save -t mangle` would read all chains of all tables, and start over when somebody changes one.
  const process = runner.start(restore(family, "nft"), options);
  const question = `*mangle\n-S ${hint}\nCOMMIT\n${END}\n`;
  const answer = await process.say(question, ({ stdout }) => stdout.endsWith(`${END}\n`));
  return { found: answer?.stdout.startsWith(`-N ${hint}\n`) === true, result: await process.end() };
}

async function findLegacyHint(runner: CommandRunner, family: 4 | 6, options: CommandOptions): Promise<boolean> {
  const { tables } = await legacyTables(runner, family, options);
  if (tables?.includes("mangle") === false) return false;
  const only = tables === undefined ? [] : ["-t", "mangle"];
  const { stdout } = await runCommand(runner, [iptablesProgram("save", family, "legacy"), ...only], options);
  return linesOf(stdout).some((line) => HINTS.some((hint) => line.startsWith(`:${hint} `)));
}

async function otherThanNft(runner: CommandRunner, options: CommandOptions): Promise<Backend> {
  const legacy = await Promise.all(
    FAMILIES.map((family) => runCommand(runner, restore(family, "legacy"), options)),
  );
  return legacy.every(isMissing) ? undefined : "legacy";
}

/** Told nothing, it does nothing. */
function restore(family: 4 | 6, backend: Backend): readonly string[] {
  return [iptablesProgram("restore", family, backend), "--noflush", "--verbose", "--wait=1"];
}

function isMissing({ error }: CommandResult): boolean {
  return error?.kind === "missing-program";
}

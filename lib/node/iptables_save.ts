/**
 * Looks at rules through iptables-save, which takes no lock.
 *
 * @module
 */
import type { Rule } from "../desired/rules.ts";
import type { CommandError } from "./command_error.ts";
import { type Backend, iptablesProgram } from "./iptables.ts";
import { judge } from "./iptables_judge.ts";
import { chainsOf, parseSaved } from "./iptables_language.ts";
import { type CommandOptions, type CommandResult, type CommandRunner, runCommand } from "./process.ts";
import type { Finding } from "./tool.ts";

/** Options for {@linkcode savedLook}. */
export interface SavedLookOptions extends CommandOptions {
  readonly backend: Backend;
  /** Whether tables may be named that do not exist: the legacy back end creates them. @default {false} */
  readonly mayCreate?: boolean;
}

/** What {@linkcode savedLook} saw. */
export interface SavedLook {
  /** In the order of the rules; empty if it could not look. */
  readonly findings: readonly Finding[];
  readonly error: CommandError | undefined;
  readonly commands: readonly CommandResult[];
}

/**
 * Compares rules that are to be there with what iptables-save prints: no lock is taken, and nothing changed.
 *
 * @param rules Those of one family.
 */
export async function savedLook(
  runner: CommandRunner,
  rules: readonly Rule[],
  options: SavedLookOptions,
): Promise<SavedLook> {
  const { backend, mayCreate = false } = options;
  const family = rules[0]?.family ?? 4;
  const chains = chainsOf(rules);
  const named = [...new Set(chains.map(({ table }) => table))];
  const legacy = backend === "legacy" && !mayCreate ? await legacyTables(runner, family, options) : undefined;
  // The plain names may drive the legacy back end.
  const isSafe = backend === "nft" || (backend === "legacy" && (mayCreate || legacy?.tables !== undefined));
  const argvs = isSafe
    ? named.filter((table) => legacy?.tables?.includes(table) ?? true).map((table) => ["-t", table])
    : [[]];
  const program = iptablesProgram("save", family, backend);
  const saved = await Promise.all(argvs.map((args) => runCommand(runner, [program, ...args], options)));
  const error = saved.find(({ error }) => error !== undefined)?.error;
  const listing = saved.map(({ stdout }) => stdout).join("");
  return {
    findings: error === undefined ? judge(rules, "present", parseSaved(listing, chains)) : [],
    error,
    commands: [...legacy === undefined ? [] : [legacy.command], ...saved],
  };
}

/** What {@linkcode legacyTables} found. */
export interface LegacyTables {
  /** Their names; undefined if they cannot be known. */
  readonly tables: readonly string[] | undefined;
  readonly command: CommandResult;
}

/**
 * Finds out which tables of the legacy back end exist, without creating one, and without reading any.
 *
 * A Deno program may not read /proc, but `ip` may, and complains of each line of a batch that is no command of its own.
 */
export async function legacyTables(
  runner: CommandRunner,
  family: 4 | 6,
  options: CommandOptions,
): Promise<LegacyTables> {
  const names = `/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`;
  const command = await runCommand(runner, ["ip", "-force", "-batch", names], options);
  const tables = [...command.stderr.matchAll(/^Object "(\w+)" is unknown/gm)].map(([, table = ""]) => table);
  // Without the file the kernel has not loaded ip_tables.
  const isKnown = command.error === undefined || tables.length > 0 ||
    /: No such file or directory$/m.test(command.stderr);
  return { tables: isKnown ? tables : undefined, command };
}

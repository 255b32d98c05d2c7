import type { LogConfig } from "./config.ts";

/** The klog level up to which a module's records are written: the larger of `-v` and its first match in `--vmodule`. */
export function verbosityOf(module: string, config: Pick<LogConfig, "verbosity" | "vmodule">): number {
  const match = config.vmodule.find((entry) => entry.module.test(module));
  return Math.max(config.verbosity, match?.level ?? 0);
}

/** A class, a quoted character, or one that may be `*` or `?`. */
const PART = /\[(?!\^\])(\^?)((?:\\.|[^\]\\])+)\]|\\.|[^[\\]/gsu;

/**
 * The regular expression of a `--vmodule` glob, with the meaning that Go's `filepath.Match` gives it: `*` any run, `?` any
 * one character, `[a-z]` and `[^a-z]` classes, `\` takes away what the next character means.
 *
 * @returns undefined for a class that is not closed, is empty or goes backwards, and for a `\` at the end.
 */
export function globRegExp(glob: string): RegExp | undefined {
  if (glob.replaceAll(PART, "") !== "") return undefined;
  const source = glob.replaceAll(PART, (part, not: string, members?: string) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    return members === undefined ? literal(part) : `[${not}${members.replaceAll(/\\.|[^-]/gsu, literal)}]`;
  });
  try {
    return new RegExp(`^${source}$`, "su");
  } catch {
    return undefined;
  }
}

/** The character of `x` or `\x`, so that it has no meaning in a regular expression. */
function literal(character: string): string {
  return `\\u{${character.codePointAt(character.length > 1 && character.startsWith("\\") ? 1 : 0)?.toString(16)}}`;
}

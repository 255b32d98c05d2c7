import type { LogConfig } from "./config.ts";

/** The klog level up to which a module's records are written: the larger of `-v` and its first match in `--vmodule`. */
export function verbosityOf(module: string, config: Pick<LogConfig, "verbosity" | "vmodule">): number {
  const match = config.vmodule.find(({ pattern }) => globRegExp(pattern).test(module));
  return Math.max(config.verbosity, match?.level ?? 0);
}

/**
 * The whole-string regular expression of a `--vmodule` glob, with the meaning that Go's `filepath.Match` gives it: `*` any
 * run, `?` any one character, `[a-z]` and `[^a-z]` classes, `\` takes away what the next character means.
 *
 * @throws {SyntaxError} for a class that is not closed, is empty or goes backwards, and for a `\` at the end.
 */
export function globRegExp(glob: string): RegExp {
  let source = "";
  let rest = glob;
  while (rest !== "") {
    const match = /^(?:\[(?!\^\])\^?(?:\\.|[^\]\\])+\]|\\.|[^[\\])/su.exec(rest);
    if (match === null) throw new SyntaxError(`Cannot parse pattern "${glob}": "${rest}" is not complete`);
    const [part] = match;
    source += partSource(part);
    rest = rest.slice(part.length);
  }
  return new RegExp(`^${source}$`, "su");
}

function partSource(part: string): string {
  if (part === "*") return ".*";
  if (part === "?") return ".";
  if (!part.startsWith("[")) return literal(part.replace(/^\\/, ""));
  const [, not, members] = /^\[(\^?)(.*)\]$/s.exec(part)!;
  // Inside a class, too, `\` only quotes: `\d` is the letter d.
  return `[${not}${
    members!.replaceAll(/\\(.)|([&^[\]{}()|/~!#$%*+,.:;<=>?@`])/gsu, (_, quoted, char) => literal(quoted ?? char))
  }]`;
}

function literal(char: string): string {
  return `\\u{${char.codePointAt(0)!.toString(16)}}`;
}

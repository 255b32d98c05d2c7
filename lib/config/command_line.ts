import { parseArgs } from "@std/cli/parse-args";
import { closestString } from "@std/text/closest-string";
import { type Flag, type FlagName, FLAGS, type FlagValues, SHORT_NAMES } from "./flags.ts";
import { escape, quote, shorten, ValueError } from "../text.ts";

const NAMES = Object.keys(FLAGS) as readonly FlagName[];

/** What a command line comes to. */
export interface CommandLine {
  /** The value of each flag: the default where nothing that can be used was given. */
  readonly values: FlagValues;
  /** One line for each thing that is wrong: the flag or the word, the value, what is accepted. */
  readonly errors: readonly string[];
}

/**
 * Reads a command line as {@link https://github.com/spf13/pflag | spf13/pflag} does, except that arguments which are not
 * flags are errors.
 *
 * @param argv The words after the name of the program.
 */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const { words, errors } = normalise(argv);
  const given = parseArgs(words, { string: NAMES, collect: NAMES }) as unknown as Record<FlagName, string[]>;
  if (given["ip-address"].length === 0) {
    errors.push("--ip-address: required: the address that the proxy listens on, such as --ip-address=10.96.0.2");
  }
  const values = Object.fromEntries(
    NAMES.map((name) => [name, valueOf(name, given[name], (error) => errors.push(error))]),
  ) as unknown as FlagValues;
  return { values, errors };
}

/**
 * The words that parseArgs reads as pflag reads these: known flags, each with its value behind a `=`. Left to itself it
 * reads `--bool false`, `--no-x`, `--a.b` and `-v -1` in ways of its own.
 */
function normalise(argv: readonly string[]): { readonly words: readonly string[]; readonly errors: string[] } {
  const words: string[] = [];
  const errors: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = longForm(argv[i] ?? "");
    const [written = ""] = word.split("=", 1);
    const flag = flagOf(written);
    const isBare = written === word;
    if (word === "--") {
      for (const stray of argv.slice(i + 1)) errors.push(describeStray(stray, ""));
      break;
    } else if (!/^-./s.test(word)) {
      errors.push(describeStray(word, argv[i - 1] ?? ""));
    } else if (flag === undefined) {
      const closest = closestString(written.slice(0, 64), NAMES);
      errors.push(`${escape(shorten(written))}: unknown flag: the closest is --${closest}`);
      // What follows is most likely its value, and not worth an error of its own.
      if (isBare && argv[i + 1]?.startsWith("-") === false) i++;
    } else if (!isBare) {
      words.push(word);
    } else if (flag.kind === "bool") {
      words.push(`${word}=true`);
    } else if (i + 1 < argv.length) {
      words.push(`${word}=${argv[++i]}`);
    } else {
      errors.push(`${word}: its value is missing: ${flag.kind}`);
    }
  }
  return { words, errors };
}

function flagOf(written: string): Flag | undefined {
  const name = written.slice(2);
  return written.startsWith("--") && Object.hasOwn(FLAGS, name) ? FLAGS[name as FlagName] : undefined;
}

/** `-v4`, `-v=4` and `-v` as `--v=4` and `--v`; any other word as it is. */
function longForm(word: string): string {
  const name = /^-[a-z]/.test(word) ? SHORT_NAMES[word.charAt(1)] : undefined;
  // pflag prints its help for every word that starts with -h.
  if (name === "help") return "--help";
  // -version and -vmodule=... are slips, not levels.
  if (name === undefined || /^-[^=]{2}/.test(word) && flagOf(`-${word.split("=", 1)[0]}`) !== undefined) return word;
  return word.length === 2 ? `--${name}` : `--${name}=${word.slice(2).replace(/^=/, "")}`;
}

function describeStray(word: string, before: string): string {
  return flagOf(before)?.kind === "bool"
    ? `${before}: cannot use ${quote(shorten(word))}: a bool takes its value after "=": use ${before}=${
      escape(shorten(word))
    }`
    : `${quote(shorten(word))}: cannot use an argument that is not the value of a flag`;
}

/** The value of a flag, of all that was given for it. */
function valueOf(name: FlagName, given: readonly string[], onError: (error: string) => void): unknown {
  const flag: Flag = FLAGS[name];
  const read = (text: string): readonly unknown[] => {
    try {
      return [flag.read(text)];
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      onError(`--${name}: cannot use ${quote(shorten(text))}: ${error.reason}`);
      return [];
    }
  };
  // The last value counts; the ones before it must be right all the same, as for pflag.
  if (!("list" in flag)) return [flag.default, ...given].flatMap(read).at(-1);
  const found = new Map<string, unknown>();
  const texts = given.length > 0 || flag.default === "" ? given : [flag.default];
  for (const text of texts.flatMap((text) => text.split(",")).map((text) => text.trim())) {
    for (const value of read(text)) {
      const key = JSON.stringify(value);
      if (found.has(key)) onError(`--${name}: cannot use ${quote(shorten(text))}: it is in the list twice`);
      found.set(key, value);
    }
  }
  return [...found.values()];
}

/**
 * The seam between this program and the programs it drives: `ip`, `iptables-restore` and their kin.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import type { CommandError } from "./command_error.ts";

/** Options for {@linkcode CommandRunner.start}. */
export interface CommandOptions {
  /** Longest wait for one answer, and for the end, in milliseconds; then the process is killed. Infinity: no limit. */
  readonly timeout: number;
  /** Kills the process when it aborts; a reason that is a string is told. */
  readonly signal?: AbortSignal | undefined;
}

/** What a program printed since it was last asked. */
export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
}

/** What a command printed and how it ended. */
export interface CommandResult {
  readonly argv: readonly string[];
  /** What no answer took. */
  readonly stdout: string;
  /** All of it. */
  readonly stderr: string;
  /** Milliseconds from the first question, or the start, to the end. */
  readonly duration: number;
  /** Undefined when it ended by itself with exit code 0. */
  readonly error: CommandError | undefined;
}

/** A running program. */
export interface Process {
  /** Undefined when it could not be started. */
  readonly pid: number | undefined;
  /**
   * Writes `text` to its stdin and waits for the answer.
   *
   * @param answered Says of what it printed since the last answer whether this one is whole.
   * @returns Undefined when the process ended, or was killed, before the answer was whole.
   */
  say(text: string, answered: (answer: Answer) => boolean): Promise<Answer | undefined>;
  /** Closes stdin, waits for the end and reaps the process. Never rejects; a second call gives the same result. */
  end(): Promise<CommandResult>;
}

/** Starts programs. The one method that tests replace. */
export interface CommandRunner {
  /** Starts `argv[0]`, looked up in PATH, in the directory `/`. What goes wrong is told by {@linkcode Process.end}. */
  start(argv: readonly string[], options: CommandOptions): Process;
}

/** Runs a program to its end. */
export function runCommand(
  runner: CommandRunner,
  argv: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  return runner.start(argv, options).end();
}

/** So many reads in so many milliseconds are a storm, in which each next one is waited for. */
const STORM = { reads: 20, ms: 100, pauseMs: 10 } as const;
/** No event is longer; what is, is handed on in pieces. */
const MAX_LINE_CHARS = 1 << 16;

/**
 * The lines that a program prints, on stdout and stderr, some at a time, until it ends. In a storm it is read at leisure: it
 * would wake this program for each line.
 */
export async function* linesOf(process: Process): AsyncGenerator<readonly string[], void> {
  let rest = "";
  let window = { since: 0, reads: 0 };
  const isNews = ({ stdout, stderr }: Answer) => stdout !== "" || stderr !== "";
  for (let news = await process.say("", isNews); news !== undefined; news = await process.say("", isNews)) {
    const lines = `${rest}${news.stdout}`.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE_CHARS) {
      lines.push(rest);
      rest = "";
    }
    const said = [...lines, ...news.stderr.split("\n").filter((line) => line !== "")];
    if (said.length > 0) yield said;
    const now = performance.now();
    window = now - window.since < STORM.ms ? { ...window, reads: window.reads + 1 } : { since: now, reads: 1 };
    if (window.reads > STORM.reads) await delay(STORM.pauseMs);
  }
}

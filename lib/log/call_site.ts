/** Where in the TypeScript source something was called. */
export interface CallSite {
  /** The file's name, with `.ts`. */
  readonly file: string;
  /** The name of the directory that the file is in; empty if unknown. */
  readonly directory: string;
  readonly line: number;
}

/** What klog, too, prints when it cannot tell. */
export const UNKNOWN_CALL_SITE: CallSite = { file: "???", directory: "", line: 1 };

/** Any function, as a mark on the stack. */
export type StackMark = (...args: never[]) => unknown;

/** Frames of a `--log_backtrace_at` stack trace. */
const BACKTRACE_FRAMES = 50;

/**
 * The place that called `mark`, which is on the stack. Costs some 20 µs, and some milliseconds the first time in a
 * bundle, when Deno reads its source map: only for records that are written.
 */
export function callSiteOf(mark: StackMark): CallSite {
  return parseCallSite(framesAbove(mark, 1));
}

/** The stack above `mark`, one frame a line, as `--log_backtrace_at` shows it. */
export function backtraceOf(mark: StackMark): string {
  return framesAbove(mark, BACKTRACE_FRAMES).replaceAll(/^ +at /gm, "").trimEnd();
}

/** Reads the first frame of a V8 stack: `    at run (file:///srv/lib/run.ts:12:3)`. */
export function parseCallSite(frames: string): CallSite {
  const match = /^ *at (?:.*\()?(.+):(\d+):\d+\)?$/m.exec(frames);
  const [, url, line] = match ?? [];
  if (url === undefined || line === undefined) return UNKNOWN_CALL_SITE;
  const parts = url.split("/");
  return { file: parts.at(-1)!, directory: parts.at(-2) ?? "", line: Number(line) };
}

function framesAbove(mark: StackMark, limit: number): string {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = limit;
  try {
    const holder: { stack?: string } = {};
    Error.captureStackTrace(holder, mark);
    // Read while the limit holds: V8 makes the text now, and an `Error:` line comes before the frames.
    return (holder.stack ?? "").replace(/^Error\n?/, "");
  } finally {
    Error.stackTraceLimit = before;
  }
}

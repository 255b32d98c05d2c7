import { monotonicClock } from "../clock.ts";
import type { WriteLines } from "./queue.ts";

/** Something that bytes are written to. */
export interface Writer {
  /** Writes some of the bytes and says how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** How far some lines were written. */
export interface Written {
  /** Bytes. */
  readonly length: number;
  /** How many lines were written whole, from the first on. */
  readonly whole: number;
  /** Whether the last byte is not the end of a line. */
  readonly torn: boolean;
  /** Why it was not all of it. */
  readonly error: unknown;
}

const NEWLINE = 10;
/** How long a pipe that is full, and that somebody made not to block, is left alone. */
const PAUSE_MS = 5;

/**
 * Writes lines, each with the one newline at its end.
 *
 * @param before What comes before the first line.
 */
export async function writeLines(writer: Writer, before: string, lines: readonly string[]): Promise<Written> {
  const bytes = new TextEncoder().encode(before + lines.join(""));
  let length = 0;
  let error: unknown;
  while (length < bytes.length && error === undefined) {
    try {
      length += await writer.write(bytes.subarray(length));
    } catch (caught) {
      if (caught instanceof Deno.errors.WouldBlock) await monotonicClock.delay(PAUSE_MS);
      else error = caught;
    }
  }
  const start = new TextEncoder().encode(before).length;
  const whole = error === undefined
    ? lines.length
    : bytes.subarray(start, Math.max(start, length)).filter((byte) => byte === NEWLINE).length;
  return { length, whole, torn: length > 0 && bytes[length - 1] !== NEWLINE, error };
}

/**
 * Makes what writes lines to standard error. Deno does it on another thread, so that a pipe which nobody reads blocks that
 * one alone; what is wrong with it can be said nowhere.
 */
export function stderrWriter(stderr: Writer = Deno.stderr): WriteLines {
  let torn = false;
  return async (lines) => {
    const written = await writeLines(stderr, torn ? "\n" : "", lines.map(({ text }) => text));
    if (written.length > 0) torn = written.torn;
    return written.whole;
  };
}

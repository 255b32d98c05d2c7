import { getLog } from "./logger.ts";
import { isSameFile, lstat, type OpenFile } from "./open.ts";
import type { Place } from "./place.ts";
import { writeLines, type Written } from "./write.ts";

/** How long what failed is left alone before it is tried again. */
const RETRY_MS = 60_000;
/** How often it is looked whether the file is still where it was. */
const CHECK_MS = 1000;

/** What the files of all logs have in common. */
export interface LogFileOptions {
  /** Bytes at which the next file is begun; 0: no limit. */
  readonly maxSize: number;
  /** What a file begins with each time that it is opened. */
  readonly header: (now: number) => string;
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  /** The logs that cannot be written. They mostly fail together, which is said once. */
  readonly failing: Set<LogFile>;
}

/** A file that is being written. */
interface Current extends OpenFile {
  size: number;
  /** What still has to come before the next line: the header, the end of a torn line. */
  pending: string;
}

const log = getLog("files");

/**
 * One log and its files. A file that was renamed or removed is noticed within a second of writing, and opened anew; one that
 * fails is said once, and tried again a minute later. There is one call of `write` at a time.
 */
export class LogFile {
  readonly #place: Place;
  readonly #options: LogFileOptions;
  #current: Current | undefined;
  /** When it was last looked whether the file is still there. */
  #checkedAt = 0;
  #failedAt: number | undefined;
  #rotationFailedAt: number | undefined;

  constructor(place: Place, options: LogFileOptions) {
    this.#place = place;
    this.#options = options;
  }

  /** Appends lines; gives how many of them were written whole, from the first on. */
  async write(lines: readonly string[]): Promise<number> {
    const now = this.#options.now();
    if (!isPast(this.#failedAt, RETRY_MS, now)) return 0;
    for (let count = 0; count < lines.length;) {
      const { whole, error } = await this.#writeSome(lines.slice(count), now);
      count += whole;
      this.#judge(error, now);
      // Whatever is wrong with a file, the job goes on, and so does its log, on standard error.
      if (error !== undefined) return count;
    }
    return lines.length;
  }

  /** Closes the file. */
  close(): void {
    this.#current?.file.close();
    this.#current = undefined;
  }

  #judge(error: unknown, now: number): void {
    const { failing } = this.#options;
    const file = this.#current?.path;
    if (error !== undefined && failing.size === 0) {
      log.error("Cannot write log file, logging to standard error", { error, file });
    }
    if (error !== undefined) failing.add(this);
    else if (failing.delete(this) && failing.size === 0) log.info("Log file can be written again", { file });
    this.#failedAt = error === undefined ? undefined : now;
  }

  /** Writes the lines that the file has room for, at least one. */
  async #writeSome(lines: readonly string[], now: number): Promise<Pick<Written, "whole" | "error">> {
    try {
      const current = await this.#currentFor(lines[0]!, now);
      // A line longer than the limit is in a file of its own, and one that cannot be rotated grows on.
      const count = Math.max(1, this.#fitting(current, lines));
      const written = await writeLines(current.file, current.pending, lines.slice(0, count));
      current.size += written.length;
      // What was cut off is written to standard error; here, the next line begins on a line of its own.
      if (written.length > 0) current.pending = written.torn ? "\n" : "";
      return written;
    } catch (error) {
      return { whole: 0, error };
    }
  }

  /** The file for the next line. */
  async #currentFor(line: string, now: number): Promise<Current> {
    if (this.#current?.info !== undefined && isPast(this.#checkedAt, CHECK_MS, now)) {
      const info = await lstat(this.#current.path);
      this.#checkedAt = now;
      // Others may have truncated it, or appended to it.
      if (isSameFile(info, this.#current.info)) this.#current.size = info!.size;
      else this.close();
    }
    this.#current ??= this.#begin(await this.#place(now, false), now);
    if (this.#current.size > 0 && this.#fitting(this.#current, [line]) === 0) await this.#rotate(this.#current, now);
    return this.#current;
  }

  async #rotate(current: Current, now: number): Promise<void> {
    if (!isPast(this.#rotationFailedAt, RETRY_MS, now)) return;
    try {
      // Another file may be at its path by now, which is not ours to rename.
      const isThere = isSameFile(await lstat(current.path), current.info);
      const next = await this.#place(now, isThere);
      this.close();
      this.#current = this.#begin(next, now);
      this.#rotationFailedAt = undefined;
    } catch (error) {
      if (this.#rotationFailedAt === undefined) {
        log.error("Cannot rotate log file, it grows on", { error, file: current.path });
      }
      this.#rotationFailedAt = now;
    }
  }

  #begin(open: OpenFile, now: number): Current {
    this.#checkedAt = now;
    return { ...open, size: open.info?.size ?? 0, pending: this.#options.header(now) };
  }

  /** How many of the lines the file has room for. */
  #fitting({ info, size, pending }: Current, lines: readonly string[]): number {
    const { maxSize } = this.#options;
    let room = maxSize - size - pending.length;
    const over = lines.findIndex((line) => (room -= new TextEncoder().encode(line).length) < 0);
    return maxSize === 0 || info === undefined || over < 0 ? lines.length : over;
  }
}

/** Whether `span` has passed since `start`; true, too, when the clock was set back. */
function isPast(start: number | undefined, span: number, now: number): boolean {
  return start === undefined || now - start >= span || now < start;
}

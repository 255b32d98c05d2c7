import { isSameFile, lstat, type OpenFile } from "./open.ts";
import type { Place } from "./place.ts";

/** How long what failed is left alone before it is tried again. */
const RETRY_MS = 60_000;
/** How often it is looked whether the file is still where it was. */
const CHECK_MS = 1000;

/** What the files of a log are like, and who is told of their troubles. */
export interface LogFileOptions {
  /** Bytes at which the next file is begun; 0: no limit. */
  readonly maxSize: number;
  /** What a file begins with each time that it is opened. */
  readonly header: (now: Date) => string;
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  /** Called when the file can no longer be written, or opened: then `error` names it. */
  readonly onFailure: (file: string | undefined, error: unknown) => void;
  /** Called when it can again. */
  readonly onRecovery: (file: string) => void;
  /** Called when a full file cannot be put aside, so that it grows on. */
  readonly onRotationFailure: (file: string, error: unknown) => void;
}

/** A file that is being written. */
interface Current extends OpenFile {
  size: number;
  /** What still has to come before the next line: the header, the end of a torn line. */
  pending: string;
}

/**
 * One log and its files. Lines are not held back: each is with the kernel when `write` returns, so that no way to die
 * loses one, and there is no timer. A file that was renamed or removed is noticed within a second of writing, and opened
 * anew; one that fails is said once, and tried again a minute later.
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

  /** Appends one line, its newline included; false if it could not be written whole. */
  write(line: string): boolean {
    const now = this.#options.now();
    if (this.#failedAt !== undefined && !isPast(this.#failedAt, RETRY_MS, now)) return false;
    const bytes = new TextEncoder().encode(line);
    try {
      append(this.#currentFor(bytes.length, now), bytes);
    } catch (error) {
      // Whatever is wrong with a file, the job goes on, and so does its log, on standard error.
      if (this.#failedAt === undefined) this.#options.onFailure(this.#current?.path, error);
      this.#failedAt = now;
      return false;
    }
    if (this.#failedAt !== undefined) {
      this.#failedAt = undefined;
      this.#options.onRecovery(this.#current!.path);
    }
    return true;
  }

  /** Closes the file. */
  close(): void {
    this.#current?.file.close();
    this.#current = undefined;
  }

  /** The file for the next `length` bytes. */
  #currentFor(length: number, now: number): Current {
    if (this.#current !== undefined && isPast(this.#checkedAt, CHECK_MS, now)) this.#check(this.#current, now);
    if (this.#current === undefined) {
      this.#checkedAt = now;
      this.#current = this.#begin(this.#place.open(new Date(now)), now);
    }
    if (this.#isFull(this.#current, length)) this.#rotate(this.#current, now);
    return this.#current;
  }

  #check(current: Current, now: number): void {
    this.#checkedAt = now;
    const info = lstat(current.path);
    if (info !== undefined && isSameFile(info, current.info)) {
      // Others may have truncated it, or appended to it.
      current.size = info.size;
    } else {
      this.close();
    }
  }

  #isFull(current: Current, length: number): boolean {
    const { maxSize } = this.#options;
    // A line longer than the limit is written to a file of its own.
    return maxSize > 0 && current.size > 0 && current.size + current.pending.length + length > maxSize;
  }

  #rotate(current: Current, now: number): void {
    if (this.#rotationFailedAt !== undefined && !isPast(this.#rotationFailedAt, RETRY_MS, now)) return;
    try {
      // Another file may be at its path by now, which is not ours to rename.
      const isThere = isSameFile(lstat(current.path), current.info);
      const date = new Date(now);
      const next = isThere ? this.#place.next(date) : this.#place.open(date);
      this.close();
      this.#current = this.#begin(next, now);
      this.#checkedAt = now;
      this.#rotationFailedAt = undefined;
    } catch (error) {
      if (this.#rotationFailedAt === undefined) this.#options.onRotationFailure(current.path, error);
      this.#rotationFailedAt = now;
    }
  }

  #begin(open: OpenFile, now: number): Current {
    return { ...open, size: open.info.size, pending: this.#options.header(new Date(now)) };
  }
}

function append(current: Current, bytes: Uint8Array): void {
  const before = new TextEncoder().encode(current.pending);
  const all = new Uint8Array(before.length + bytes.length);
  all.set(before);
  all.set(bytes, before.length);
  let written = 0;
  try {
    while (written < all.length) written += current.file.writeSync(all.subarray(written));
    current.pending = "";
  } catch (error) {
    // What was cut off is written to standard error; here, the next line begins on a line of its own.
    if (written > 0) current.pending = "\n";
    throw error;
  } finally {
    current.size += written;
  }
}

/** Whether `span` has passed since `start`; true, too, when the clock was set back. */
function isPast(start: number, span: number, now: number): boolean {
  return now - start >= span || now < start;
}

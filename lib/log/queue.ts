import type { Severity } from "./config.ts";

/** A formatted record. */
export interface Line {
  readonly severity: Severity;
  /** The line, its newline included. */
  readonly text: string;
  /** How many lost lines it tells of. */
  readonly lost?: number;
}

/** Writes lines and gives how many of them it could, from the first on. Never rejects, but may never resolve. */
export type WriteLines = (lines: readonly Line[]) => Promise<number>;

/** What waits is at most this long, in UTF-16 code units. */
const LIMIT = 2 ** 20;

/**
 * Lines on their way to something that may take its time, so that nobody waits for it: a pipe that nobody reads, a file
 * system that hangs. A line is written at once, and those that come meanwhile all together after it, so that order is kept.
 * What finds no room is lost; where it would have stood, a line tells how many there were.
 */
export class LineQueue {
  readonly #write: WriteLines;
  readonly #lostLine: (lost: number) => Line;
  #waiting: Line[] = [];
  #length = 0;
  #lost = 0;
  #running: Promise<void> | undefined;

  /** @param lostLine The line that tells how many were lost. */
  constructor(write: WriteLines, lostLine: (lost: number) => Line) {
    this.#write = write;
    this.#lostLine = lostLine;
  }

  /** Adds a line. Never waits, and never throws. */
  push(line: Line): void {
    if (this.#length > 0 && this.#length + line.text.length > LIMIT) {
      this.#lost++;
      return;
    }
    this.#tellLost();
    this.#add(line);
    this.#running ??= this.#run();
  }

  /** Resolves when nothing waits any more. */
  async drain(): Promise<void> {
    await this.#running;
  }

  #add(line: Line): void {
    this.#waiting.push(line);
    this.#length += line.text.length;
  }

  #tellLost(): void {
    if (this.#lost > 0) this.#add(this.#lostLine(this.#lost));
    this.#lost = 0;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      [this.#waiting, this.#length] = [[], 0];
      const written = await this.#write(lines);
      // What could not be written is told with the next line, and not tried again before.
      if (written === lines.length) this.#tellLost();
      else for (const { lost = 1 } of lines.slice(written)) this.#lost += lost;
    }
    this.#running = undefined;
  }
}

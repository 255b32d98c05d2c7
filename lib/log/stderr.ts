/** Writes some of the bytes and says how many; may throw. */
export type Write = (bytes: Uint8Array) => number;

/** How long one record waits for a full pipe. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 5;

/** Where {@linkcode Stderr} writes and waits; by default the process's own. */
export interface StderrOptions {
  readonly write?: Write;
  /** Blocks the thread for some milliseconds. */
  readonly pause?: (ms: number) => void;
}

/**
 * Standard error, from which no failure comes back: the job goes on without its log. A line is written whole before
 * `write` returns. A pipe that is full and does not block is waited for, once, up to a second; from then on lines are
 * dropped without waiting until it takes one again, and that one says how many were lost.
 */
export class Stderr {
  readonly #lostLine: (lost: number) => string;
  readonly #write: Write;
  readonly #pause: (ms: number) => void;
  #lost = 0;
  /** Whether only a part of the last line was written. */
  #torn = false;

  /** @param lostLine The line that says how many lines were lost. */
  constructor(lostLine: (lost: number) => string, options: StderrOptions = {}) {
    this.#lostLine = lostLine;
    this.#write = options.write ?? ((bytes) => Deno.stderr.writeSync(bytes));
    this.#pause = options.pause ?? pause;
  }

  /** Writes one line, its newline included. */
  write(line: string): void {
    this.flush();
    if (this.#lost > 0 || !this.#put(line)) this.#lost++;
  }

  /** Says how many lines were lost, if any were and it now can be said. */
  flush(): void {
    if (this.#lost > 0 && this.#put(this.#lostLine(this.#lost))) this.#lost = 0;
  }

  #put(line: string): boolean {
    const bytes = new TextEncoder().encode(this.#torn ? `\n${line}` : line);
    let pauses = this.#lost > 0 ? 0 : PATIENCE_MS / PAUSE_MS;
    let written = 0;
    while (written < bytes.length) {
      try {
        written += this.#write(bytes.subarray(written));
      } catch (error) {
        // A closed pipe, a full disk behind a redirection: there is nowhere left to say it.
        if (!(error instanceof Deno.errors.WouldBlock) || pauses-- === 0) break;
        this.#pause(PAUSE_MS);
      }
    }
    if (written > 0) this.#torn = written < bytes.length;
    return written === bytes.length;
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

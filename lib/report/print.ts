import { delay } from "@std/async/delay";

/**
 * Whole lines of up to 1,300 characters together, or a longer one. A pipe takes 4,096 bytes (PIPE_BUF) at once or not at all;
 * of more, Deno (2.9.6) does not tell how much a pipe that is full has taken, and it keeps back what does not end a line.
 */
const PIECE = /[^]{0,1300}\n|.+\n?/g;
/** Pause before a full pipe is tried again, in milliseconds. */
const PAUSE_MS = 10;

/** Something could not be printed: the disk is full, for example. */
export class PrintError extends Error {
  override readonly name = "PrintError";
}

/**
 * Prints all of a text, however slowly it is read. Who reads it no more, as `head`, has seen enough: that is no failure.
 *
 * @param stream Standard output or standard error.
 * @throws {PrintError} if it cannot be written.
 */
export async function print(stream: { write(bytes: Uint8Array): Promise<number> }, text: string): Promise<void> {
  for (const bytes of (text.match(PIECE) ?? []).map((piece) => new TextEncoder().encode(piece))) {
    for (let written = 0; written < bytes.length;) {
      try {
        written += await stream.write(bytes.subarray(written));
      } catch (error) {
        if (error instanceof Deno.errors.BrokenPipe) return;
        if (!(error instanceof Deno.errors.WouldBlock)) {
          throw new PrintError(`Cannot print: ${error instanceof Error ? error.message : error}`, { cause: error });
        }
        // The pipe does not block, as whoever made it wanted, and is full.
        await delay(PAUSE_MS);
      }
    }
  }
}

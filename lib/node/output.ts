/** More than this is no answer of any tool that is asked here: 10,000 rules are 1 MiB. */
const MAX_OUTPUT_CHARS = 64 << 20;

/** What comes out of a pipe, as text. */
export class Output {
  text = "";
  isOver = false;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  readonly #onTooMuch: () => void;
  #next: Promise<void> | undefined;

  constructor(stream: ReadableStream<Uint8Array>, onTooMuch: () => void) {
    this.#reader = stream.getReader();
    this.#onTooMuch = onTooMuch;
  }

  /** Resolves when there is more text, or the end. */
  more(): Promise<void> {
    return this.#next ??= this.#read();
  }

  /** Reads to the end. */
  async drain(): Promise<void> {
    while (!this.isOver) await this.more();
  }

  cancel(): void {
    this.#reader.cancel().catch(() => {});
  }

  async #read(): Promise<void> {
    // A pipe that cannot be read has nothing more to say.
    const chunk = await this.#reader.read().catch(() => ({ done: true } as const));
    if (chunk.done) {
      this.isOver = true;
      return;
    }
    this.#next = undefined;
    this.text += this.#decoder.decode(chunk.value, { stream: true });
    if (this.text.length <= MAX_OUTPUT_CHARS) return;
    this.text = "";
    this.#onTooMuch();
  }
}

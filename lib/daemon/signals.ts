/** The signals that end the program or ask it for a pass, from construction to disposal. */
export class Signals implements Disposable {
  /** Called at each SIGHUP. */
  onReload: () => void = () => {};
  readonly #stop = new AbortController();
  readonly #impatience = Promise.withResolvers<void>();
  readonly #onStop = () => this.#stop.signal.aborted ? this.#impatience.resolve() : this.#stop.abort();
  readonly #onHangUp = () => this.onReload();

  constructor() {
    // Whoever started this program may have had it ignored, which is inherited: then no child could be waited for.
    Deno.addSignalListener("SIGCHLD", ignore);
    for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, this.#onStop);
    Deno.addSignalListener("SIGHUP", this.#onHangUp);
  }

  /** Aborts at the first SIGTERM or SIGINT. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** Resolves at the second SIGTERM or SIGINT: whoever sent it waits no longer. */
  get impatience(): Promise<void> {
    return this.#impatience.promise;
  }

  [Symbol.dispose](): void {
    Deno.removeSignalListener("SIGCHLD", ignore);
    for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.removeSignalListener(signal, this.#onStop);
    Deno.removeSignalListener("SIGHUP", this.#onHangUp);
  }
}

function ignore(): void {}

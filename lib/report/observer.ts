import type { CommandResult, CommandRunner } from "../node/process.ts";
import type { Request, Scope } from "../daemon/loop.ts";
import type { Report } from "../reconcile/reconcile.ts";

/** Who is told what the daemon does. None of it may throw, or take long: repairs wait for it. */
export interface Observer {
  /** A pass over some of what is wanted, or all of it, ended. */
  onPass?(report: Report, request: Request & { readonly scope: Scope }): void;
  /** A command ended, or answered all it was asked in this pass. */
  onCommand?(result: CommandResult): void;
  /** A watcher ended and is started again. */
  onWatcherRestart?(program: string): void;
  /** The first signal to stop came. */
  onStop?(): void;
}

/** Makes a runner tell observers of each command that ended. */
export function observeCommands(runner: CommandRunner, observers: readonly Observer[]): CommandRunner {
  return {
    start(argv, options) {
      const talk = runner.start(argv, options);
      return {
        get isReused(): boolean {
          return talk.isReused === true;
        },
        say: (text, answered, timeout) => talk.say(text, answered, timeout),
        async end(options) {
          const result = await talk.end(options);
          for (const observer of observers) observer.onCommand?.(result);
          return result;
        },
      };
    },
  };
}

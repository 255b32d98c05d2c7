/**
 * A program that logs as its one argument says, for tests that need a process, its rights or its disk: a JSON list of
 * steps, after the first of which, the configuration, each logs, sets the clock on, or removes a file.
 *
 * @module
 */
import type { LogConfig } from "../../lib/log/config.ts";
import { getLog, setUpLogging } from "../../lib/log/mod.ts";
import { DEFAULTS, type FixedClock, START } from "../support/logging.ts";

/** What the program does next; `%` in a message is replaced by how often it was logged. */
export type Step =
  | { readonly log: "info" | "warning" | "error"; readonly message: string; readonly repeat?: number }
  | { readonly wait: number }
  | { readonly remove: string };

if (import.meta.main) {
  const [config, ...steps]: [Partial<LogConfig>, ...Step[]] = JSON.parse(Deno.args[0]!);
  const clock: FixedClock = { time: START };
  const log = getLog("child");
  await using logging = await setUpLogging({ ...DEFAULTS, ...config }, {
    program: "apiserver-proxy-sidecar",
    version: "1.2.3",
    pid: 4242,
    now: () => clock.time,
    callSiteOf: () => ({ file: "test.ts", directory: "tests", line: 7 }),
  });
  for (const step of steps) {
    await logging.flush();
    if ("log" in step) {
      for (let n = 0; n < (step.repeat ?? 1); n++) {
        log[step.log](step.message.replace("%", String(n)));
        if (n % 1000 === 999) await logging.flush();
      }
    } else if ("wait" in step) clock.time += step.wait;
    else Deno.removeSync(step.remove);
  }
}

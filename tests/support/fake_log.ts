/**
 * Test equipment: what is logged, without files and without time.
 *
 * @module
 */
import { setUpLogging } from "../../lib/log/mod.ts";
import { configOf } from "./reports.ts";

/** What was logged while this is not disposed of. */
export interface FakeLog extends AsyncDisposable {
  /** The records since the last call, as the letter of the severity and the text. */
  take(): readonly string[];
}

/** Takes all that is logged. */
export async function fakeLog(verbosity = 0): Promise<FakeLog> {
  const lines: string[] = [];
  const logging = await setUpLogging({ ...configOf().log, verbosity }, {
    program: "apiserver-proxy-sidecar",
    version: "0",
    pid: 1,
    now: () => 0,
    callSiteOf: () => ({ file: "some.ts", directory: "lib", line: 1 }),
    stderr: (line) => lines.push(line.replace(/^(.)\d{4} .*? some\.ts:1\] /, "$1 ").trimEnd()),
  });
  return { take: () => lines.splice(0), [Symbol.asyncDispose]: () => logging[Symbol.asyncDispose]() };
}

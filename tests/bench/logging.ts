/**
 * What a log call costs: next to nothing when its level is off, some microseconds when its record is written. In this process.
 *
 * @module
 */
import type { LogConfig } from "../../lib/log/config.ts";
import { getLog, setUpLogging } from "../../lib/log/mod.ts";
import { DEFAULTS } from "../support/logging.ts";
import { repeat, type Result } from "./bench.ts";
import { type Row, row, type Wanted } from "./rows.ts";

const CALLS = 1000;
const ROUNDS = 25;

/** Measures the rows of log calls. */
export async function measureLogging(): Promise<Result> {
  const log = getLog("bench");
  const write = () => log.info("Ran command", { argv: "ip address", code: 0, ms: 1.25 });
  return {
    rows: [
      await measure("log call, level off", {}, () => log.v(6)?.info("Ran command", { ms: performance.now() }), {
        p50: 1,
      }),
      await measure("log call, text", {}, write, { p50: 100 }),
      await measure("log call, JSON", { format: "json" }, write, { p50: 100 }),
    ],
  };
}

async function measure(what: string, config: Partial<LogConfig>, call: () => void, wanted: Wanted): Promise<Row> {
  const identity = { program: "bench", version: "0", pid: Deno.pid };
  const stderr = () => {};
  const times = await repeat(ROUNDS, async () => {
    await using _ = await setUpLogging({ ...DEFAULTS, verbosity: 4, ...config }, { ...identity, stderr });
    const started = performance.now();
    for (let n = 0; n < CALLS; n++) call();
    return 1000 * (performance.now() - started) / CALLS;
  });
  return row(what, "µs", times, wanted);
}

/**
 * What a log call costs: next to nothing when its level is off, some microseconds when its record is written.
 *
 * @module
 */
import type { LogConfig } from "../../lib/log/config.ts";
import { getLog, setUpLogging } from "../../lib/log/mod.ts";
import { DEFAULTS } from "../support/logging.ts";

const log = getLog("bench");

/** Sets logging up so that standard error takes everything and keeps nothing. */
async function toNowhere(config: Partial<LogConfig> = {}): Promise<void> {
  await setUpLogging({ ...DEFAULTS, verbosity: 4, ...config }, {
    program: "bench",
    version: "0",
    pid: Deno.pid,
    stderr: { write: (bytes) => bytes.length },
  });
}

/** Benchmarks 1000 records a round, since each round sets logging up anew. */
function bench1000(name: string, config: Partial<LogConfig>): void {
  Deno.bench(`1000 records, ${name}`, { group: "written" }, async (bench) => {
    await toNowhere(config);
    bench.start();
    for (let n = 0; n < 1000; n++) log.info("Ran command", { argv: "ip address", code: 0, ms: 1.25 });
    bench.end();
  });
}

// Each call counts something, so that V8 cannot leave it out.
let calls = 0;
function empty(): number {
  return calls++;
}

await toNowhere();

Deno.bench("a call of an empty function", { group: "level off", baseline: true }, () => {
  empty();
});

Deno.bench("log.v(6)?.info(…)", { group: "level off" }, () => {
  log.v(6)?.info("Ran command", { argv: ["ip", "address"].join(" "), count: empty(), ms: performance.now() });
});

bench1000("text", {});
bench1000("text without header and call site", { skipHeaders: true });
bench1000("JSON", { format: "json" });

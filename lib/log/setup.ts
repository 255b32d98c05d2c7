import { configureSync, type LogLevel, resetSync, withFilter } from "@logtape/logtape";
import { type LogConfig, rankOf, type Severity } from "./config.ts";
import type { FileHost } from "./files.ts";
import { type LineHost, LineMaker } from "./line.ts";
import { PROGRAM, setLevels } from "./logger.ts";
import { type Line, LineQueue } from "./queue.ts";
import { verbosityOf } from "./verbosity.ts";
import { stderrWriter } from "./write.ts";

/** How long what is not written yet is waited for at the end, in tenths of a second. */
const PATIENCE = 10;

/** The process that logs. What is optional is there for tests: the machine's own is the default. */
export interface LogHost extends FileHost, LineHost {
  /** Takes the lines for standard error. */
  readonly stderr?: (line: string) => void;
}

/** Logging that is set up; disposing of it flushes, and drops all later records. */
export interface Logging extends AsyncDisposable {
  /** Waits for what is not written yet, but a second at most. */
  flush(): Promise<void>;
}

/** Starts logging. What writes files is loaded only if `config` asks for files. */
export async function setUpLogging(config: LogConfig, host: LogHost): Promise<Logging> {
  const lines = new LineMaker(config, host);
  const lostLine = (lost: number) => lines.ofLost(lost);
  const stderr = new LineQueue(stderrWriter(), lostLine);
  const tell = (line: Line) => host.stderr === undefined ? stderr.push(line) : host.stderr(line.text);
  const threshold = stderrThreshold(config);
  // What a file refuses goes to standard error, unless it is there already.
  const refuse = (line: Line) => {
    if (rankOf(line.severity) < rankOf(threshold)) tell(line);
  };
  const files = config.toStderr ? undefined : new (await import("./files.ts")).LogFiles(config, host, refuse);
  const fileQueue = files && new LineQueue((some) => files.write(some), lostLine);
  configureSync({
    reset: true,
    sinks: {
      files: (record) => fileQueue?.push(lines.of(record)),
      stderr: withFilter((record) => tell(lines.of(record)), threshold.toLowerCase() as LogLevel),
      troubles: (record) => tell(lines.of(record)),
    },
    loggers: [
      { category: PROGRAM, sinks: ["files", "stderr"], lowestLevel: "info" },
      // What is wrong with files is not for them, and what LogTape tells of a sink that throws is not for that sink.
      { category: [PROGRAM, "files"], sinks: ["troubles"], parentSinks: "override", lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: ["troubles"], lowestLevel: "warning" },
    ],
  });
  setLevels((module) => verbosityOf(module, config));
  const flush = () =>
    settledWithin(PATIENCE, async () => {
      // In this order, since what a file refuses goes to standard error.
      await fileQueue?.drain();
      await stderr.drain();
    });
  return {
    flush,
    async [Symbol.asyncDispose]() {
      await flush();
      setLevels(undefined);
      resetSync();
      files?.close();
    },
  };
}

/**
 * Waits for some work, but not for ever: for so many slices of 100 ms, so that a machine on which nothing gets on for a
 * second does not use up all of them. setTimeout() would cost Deno 2.9 up to 15 ms at each start.
 */
async function settledWithin(slices: number, work: () => Promise<void>): Promise<void> {
  const cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  let isDone = false;
  const done = work().then(() => isDone = true);
  for (let slice = 0; slice < slices && !isDone; slice++) {
    await Promise.race([done, Atomics.waitAsync(cell, 0, 0, 100).value]);
  }
  Atomics.notify(cell, 0);
}

/** The severity from which on records go to standard error. */
function stderrThreshold(config: LogConfig): Severity {
  if (config.toStderr) return config.legacyThreshold ? "INFO" : config.stderrThreshold;
  return config.alsoToStderr ? config.alsoToStderrThreshold : config.stderrThreshold;
}

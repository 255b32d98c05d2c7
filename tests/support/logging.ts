/**
 * Test equipment: logging with a fixed clock, process and call site, whose standard error is a string.
 *
 * @module
 */
import type { LogConfig } from "../../lib/log/config.ts";
import { getLog, type Log, type Logging, type LogHost, setUpLogging } from "../../lib/log/mod.ts";

/** What the logging flags say by default. */
export const DEFAULTS: LogConfig = {
  verbosity: 0,
  vmodule: [],
  format: "text",
  toStderr: true,
  alsoToStderr: false,
  stderrThreshold: "ERROR",
  alsoToStderrThreshold: "INFO",
  legacyThreshold: true,
  dir: undefined,
  file: undefined,
  fileMaxSize: 0,
  skipHeaders: false,
  skipLogHeaders: false,
  addDirHeader: false,
  oneOutput: false,
  backtraceAt: undefined,
};

/** 9 July 2026, 08:05:03.000042 here, wherever that is: the lines show local time. */
export const START = new Date(2026, 6, 9, 8, 5, 3).getTime() + 0.042;

/** What comes before the message in a text line, after the severity, at {@linkcode START}. */
export const HEADER = "0709 08:05:03.000042    4242 test.ts:7] ";

/** What a log file begins with at {@linkcode START}. */
export const FILE_HEADER = "Log file created at: 2026/07/09 08:05:03\n" +
  "Running on machine: node-1.example.org\n" +
  "Binary: apiserver-proxy-sidecar 1.2.3\n" +
  "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu pid file:line] msg\n";

/** A clock that stands still unless a test sets it. */
export interface FixedClock {
  /** Milliseconds since the Unix epoch. */
  time: number;
}

/** Logging of a test. */
export interface TestLogging extends Logging {
  readonly log: Log;
  readonly clock: FixedClock;
  /** All that has been written to standard error since the last call, when the files are written. */
  stderr(): Promise<string>;
  /** {@linkcode contents}, when the files are written. */
  contents(directory: string): Promise<Record<string, string>>;
}

/** Sets up logging with `config` on a fixed host. */
export async function testLogging(config: Partial<LogConfig> = {}, host: Partial<LogHost> = {}): Promise<TestLogging> {
  const clock: FixedClock = { time: START };
  let written = "";
  const logging = await setUpLogging({ ...DEFAULTS, ...config }, {
    program: "apiserver-proxy-sidecar",
    version: "1.2.3",
    pid: 4242,
    hostname: () => "node-1.example.org",
    uid: () => 0,
    now: () => clock.time,
    callSiteOf: () => ({ file: "test.ts", directory: "tests", line: 7 }),
    stderr: (line) => void (written += line),
    ...host,
  });
  return {
    log: getLog("test"),
    clock,
    async stderr() {
      await logging.flush();
      const text = written;
      written = "";
      return text;
    },
    flush: () => logging.flush(),
    async contents(directory) {
      await logging.flush();
      return contents(directory);
    },
    [Symbol.asyncDispose]: () => logging[Symbol.asyncDispose](),
  };
}

/** A new directory that goes with the test. */
export function temporaryDirectory(): Disposable & { readonly path: string } {
  const path = Deno.makeTempDirSync();
  return {
    path,
    [Symbol.dispose]() {
      // A test may have taken away the right to remove files in it.
      Deno.chmodSync(path, 0o700);
      Deno.removeSync(path, { recursive: true });
    },
  };
}

/** The files of a directory with their contents; a symbolic link as `-> target`. */
export function contents(directory: string): Record<string, string> {
  const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
  return Object.fromEntries(names.map((name) => {
    const path = `${directory}/${name}`;
    const { isSymlink, isFile } = Deno.lstatSync(path);
    return [name, isSymlink ? `-> ${Deno.readLinkSync(path)}` : isFile ? Deno.readTextFileSync(path) : "?"];
  }));
}

/**
 * Logs that people who run klog programs know: klog's flags, lines and files, on LogTape's loggers and sinks.
 *
 * @module
 */
export { getLog, type Log } from "./logger.ts";
export { type Logging, type LogHost, setUpLogging } from "./setup.ts";

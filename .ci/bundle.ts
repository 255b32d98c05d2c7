/**
 * Makes dist/apiserver-proxy-sidecar.js, the whole program in one file, which knows the commit it was made from: that of
 * the working copy, or what COMMIT in the environment says.
 *
 * @module
 */

import { decode, encode, type SourceMapSegment } from "@jridgewell/sourcemap-codec";
import { describeCommit, run } from "./commands.ts";

const BUNDLE = "dist/apiserver-proxy-sidecar.js";
const MAP = "//# sourceMappingURL=data:application/json;base64,";

// Platform browser: LogTape comes without node:util, which costs 10 ms and 5 MiB at each start. Minified it is read 3 ms sooner.
await run(
  Deno.execPath(),
  "bundle",
  "--quiet",
  "--platform=browser",
  "--minify",
  "--sourcemap=inline",
  `--output=${BUNDLE}`,
  "main.ts",
);
const bundle = await Deno.readTextFile(BUNDLE);
await Deno.writeTextFile(BUNDLE, slimSourceMap(stampCommit(bundle, await describeCommit())));
// `deno compile` keeps the time: without it the same commit would give another binary each time.
await Deno.utime(BUNDLE, 0, 0);

function stampCommit(code: string, commit: string): string {
  const [before, after, ...others] = code.split(/(?<=[\w$]=)"unknown"/);
  if (before === undefined || after === undefined || others.length > 0) {
    throw new Error(`Cannot put the commit in: ${BUNDLE} declares "unknown" ${others.length} times`);
  }
  return `${before}${JSON.stringify(commit)}${after}`;
}

/**
 * Leaves out of the source map all but where a line of a source of ours begins. Deno reads the map when the first log line
 * looks for its call site: with columns, packages and sources that took 15 ms and 4 MiB at each start.
 */
function slimSourceMap(bundle: string): string {
  const [code, base64, ...rest] = bundle.split(MAP);
  if (code === undefined || base64 === undefined || rest.length > 0) {
    throw new Error(`Cannot find the source map of ${BUNDLE}`);
  }
  // One other character, in a comment even, and V8 keeps the code with two bytes for each: it is read 4 ms later.
  // deno-lint-ignore no-control-regex
  const other = /[^\x00-\x7f]/.exec(code);
  if (other !== null) throw new Error(`Cannot use ${BUNDLE}: "${other[0]}" is not ASCII`);
  const map: { readonly sources: string[]; readonly mappings: string } = JSON.parse(
    new TextDecoder().decode(Uint8Array.fromBase64(base64)),
  );
  const isOurs = map.sources.map((source) => !/\/npm\//.test(source));
  const begin = ([column, source, line]: SourceMapSegment): SourceMapSegment =>
    source !== undefined && line !== undefined && isOurs[source] ? [column, source, line, 0] : [column];
  const mappings = decode(map.mappings).map((segments) =>
    segments.map(begin).filter(([, source, line], i, all) =>
      i === 0 || source !== all[i - 1]![1] || line !== all[i - 1]![2]
    )
  );
  const slim = {
    version: 3,
    sources: map.sources.map((source, index) => isOurs[index] ? source : ""),
    names: [],
    mappings: encode(mappings),
  };
  return `${code}${MAP}${new TextEncoder().encode(JSON.stringify(slim)).toBase64()}\n`;
}

/**
 * Makes dist/apiserver-proxy-sidecar.js, the whole program in one file, which knows the commit it was made from: that of
 * the working copy, or what COMMIT in the environment says.
 *
 * @module
 */

import { decode, encode, type SourceMapSegment } from "@jridgewell/sourcemap-codec";

const BUNDLE = "dist/apiserver-proxy-sidecar.js";
const MAP = "//# sourceMappingURL=data:application/json;base64,";

// Platform browser: LogTape comes without node:util, which costs 10 ms and 5 MiB at each start.
await run(
  Deno.execPath(),
  "bundle",
  "--quiet",
  "--platform=browser",
  "--sourcemap=inline",
  `--output=${BUNDLE}`,
  "main.ts",
);
const commit = Deno.env.get("COMMIT") ?? await describeCommit();
await Deno.writeTextFile(BUNDLE, slimSourceMap(stampCommit(await Deno.readTextFile(BUNDLE), commit)));
// `deno compile` keeps the time: without it the same commit would give another binary each time.
await Deno.utime(BUNDLE, 0, 0);

function stampCommit(code: string, commit: string): string {
  const declaration = 'var COMMIT = "unknown";';
  if (!code.includes(declaration)) throw new Error(`Cannot put the commit in: no ${declaration} in ${BUNDLE}`);
  return code.replace(declaration, () => `var COMMIT = ${JSON.stringify(commit)};`);
}

/**
 * Leaves out of the source map all but the line of the source that each line of ours comes from. Deno reads the map when the
 * first log line looks for its call site: with columns, packages and sources that took 15 ms and 4 MiB at each start.
 */
function slimSourceMap(bundle: string): string {
  const [code, base64, ...rest] = bundle.split(MAP);
  if (code === undefined || base64 === undefined || rest.length > 0) {
    throw new Error(`Cannot find the source map of ${BUNDLE}`);
  }
  const map: { readonly sources: string[]; readonly mappings: string } = JSON.parse(
    new TextDecoder().decode(Uint8Array.fromBase64(base64)),
  );
  const isOurs = map.sources.map((source) => !/\/npm\//.test(source));
  const mappings = decode(map.mappings).map((segments): SourceMapSegment[] => {
    const ours = segments.find(([, source]) => source !== undefined && isOurs[source]);
    return ours?.length === undefined || ours.length === 1 ? [[0]] : [[0, ours[1], ours[2], 0]];
  });
  const slim = {
    version: 3,
    sources: map.sources.map((source, index) => isOurs[index] ? source : ""),
    names: [],
    mappings: encode(mappings),
  };
  return `${code}${MAP}${new TextEncoder().encode(JSON.stringify(slim)).toBase64()}\n`;
}

/** "unknown" where there is no git or no commit, as in an unpacked archive. */
async function describeCommit(): Promise<string> {
  try {
    return await run("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty");
  } catch {
    return "unknown";
  }
}

async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  if (code !== 0) throw new Error(`Cannot run "${program} ${args.join(" ")}": ${decoder.decode(stderr).trimEnd()}`);
  return decoder.decode(stdout).trim();
}

/**
 * Compiles dist/apiserver-proxy-sidecar.js: without arguments to dist/apiserver-proxy-sidecar, for the architecture ARCH in the
 * environment or this machine's; with architectures as arguments for each of them, to dist/apiserver-proxy-sidecar-linux-….
 *
 * DENORT_BIN in the environment may name several runtimes, separated by colons: `deno compile` itself takes any, and makes a
 * program for another architecture of it than `--target` says.
 *
 * @module
 */

import { type Architecture, readElf } from "./elf.ts";

const TARGETS: ReadonlyMap<string, string> = new Map<Architecture, string>([
  ["amd64", "x86_64-unknown-linux-gnu"],
  ["arm64", "aarch64-unknown-linux-gnu"],
]);
const BUNDLE = "dist/apiserver-proxy-sidecar.js";
const HOST = Deno.build.arch === "aarch64" ? "arm64" : "amd64";

const builds = Deno.args.length === 0
  ? [{ architecture: Deno.env.get("ARCH") || HOST, output: "dist/apiserver-proxy-sidecar" }]
  : Deno.args.map((architecture) => ({ architecture, output: `dist/apiserver-proxy-sidecar-linux-${architecture}` }));
for (const { architecture, output } of builds) {
  const problem = await compile(architecture, output);
  if (problem === undefined) continue;
  // deno-lint-ignore no-console -- a person reads it
  console.error(`Cannot build for ${architecture}: ${problem}`);
  Deno.exitCode = 1;
}

/** @returns What is wrong, and on a line of its own the remedy; undefined if all is well. */
async function compile(architecture: string, output: string): Promise<string | undefined> {
  const target = TARGETS.get(architecture);
  if (target === undefined) return `no such architecture\nGive one of ${[...TARGETS.keys()].join(", ")}`;
  const runtimes = (Deno.env.get("DENORT_BIN") ?? "").split(":").filter(Boolean);
  const remedy = `Set DENORT_BIN to the path of a denort for ${target}, and DENO_VERSION to its release, as in: ` +
    `DENO_VERSION=2.7.11 DENORT_BIN=/path/to/denort make build`;
  const kinds = await Promise.all(runtimes.map(architectureOf));
  const runtime = runtimes[kinds.indexOf(architecture)];
  if (runtimes.length > 0 && runtime === undefined) {
    return `${runtimes.map((path, i) => `DENORT_BIN "${path}" is ${kinds[i]}`).join(", ")}\n${remedy}`;
  }
  const compiling = ["deno", "task", "--quiet", "compile", "--target", target, "--output", output, BUNDLE];
  const { code, stderr } = await run(compiling, {
    NO_COLOR: "1",
    ...runtime !== undefined && { DENORT_BIN: runtime },
  });
  if (code !== 0) return `${explain(stderr)}\n${remedy}`;
  const made = await architectureOf(output);
  if (made !== architecture) return `${output} is ${made}`;
  if (architecture !== HOST) return undefined;
  const trial = await run([`./${output}`, "--version"]);
  return trial.code === 0
    ? undefined
    : `DENORT_BIN is not of Deno ${Deno.version.deno}: the program does not start\n${remedy}`;
}

/** An architecture, or what else it is. */
async function architectureOf(path: string): Promise<string> {
  try {
    return readElf(await Deno.readFile(path))?.architecture ?? "no ELF file of a known architecture";
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? "not there" : String(error);
  }
}

/** The reason in one line, out of a chain of errors and a backtrace. */
function explain(stderr: string): string {
  const [, url, reason] = /error sending request for url \(([^)]*)\): (.*)/.exec(stderr) ?? [];
  if (url !== undefined) return `${url} cannot be fetched: ${reason}`;
  const [chain = ""] = stderr.split(/^Stack backtrace:/m);
  return chain.split("\n").map((line) => line.trim()).filter(Boolean).join(" ");
}

async function run([program = "", ...args]: readonly string[], env: Record<string, string> = {}) {
  const { code, stderr } = await new Deno.Command(program, { args, env, stdout: "null", stderr: "piped" }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

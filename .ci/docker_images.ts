/**
 * Builds the image, for ARCH in the environment or else for each architecture: IMAGE:TAG-ARCH, and IMAGE:TAG for this machine's.
 * With --sbom as argument it also writes what is in each into dist/.
 *
 * In the environment: IMAGE, TAG, ENGINE (docker or buildah), CA_FILE (authorities to trust while building; else SSL_CERT_FILE), DENORT_BIN
 * (runtimes of Deno), DENO_IMAGE, DEBIAN_IMAGE, BASE_IMAGE, SOURCE (see Dockerfile).
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };
import { dateCommit, describeCommit, run } from "./commands.ts";

const HOST = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
const architectures = [Deno.env.get("ARCH") || ["amd64", "arm64"]].flat();
const image = `${Deno.env.get("IMAGE") || "apiserver-proxy-sidecar"}:${Deno.env.get("TAG") || config.version}`;
const folder = await Deno.makeTempDir();
try {
  const engine = Deno.env.get("ENGINE") || await findEngine();
  const flags = await buildFlags(engine);
  for (const architecture of architectures) {
    const build = [engine, "build", ...flags, `--platform=linux/${architecture}`];
    const tags = [`${image}-${architecture}`, ...architecture === HOST ? [image] : []];
    await show(...build, ...tags.map((tag) => `--tag=${tag}`), ".");
    if (!Deno.args.includes("--sbom")) continue;
    await show(...build, "--target=sbom", `--output=type=local,dest=${folder}`, ".");
    const name = "apiserver-proxy-sidecar";
    await Deno.copyFile(`${folder}/${name}.cdx.json`, `dist/${name}-linux-${architecture}.cdx.json`);
  }
} catch (error) {
  // deno-lint-ignore no-console -- a person reads it
  console.error(error instanceof Error ? error.message : error);
  Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** The first that answers: a client of Docker may be there without its daemon. */
async function findEngine(): Promise<string> {
  for (const [engine, question] of [["docker", "info"], ["buildah", "--version"]] as const) {
    if (await run(engine, question).then(() => true, () => false)) return engine;
  }
  throw new Error("Cannot build an image: neither docker nor buildah works here: apt-get install buildah");
}

async function buildFlags(engine: string): Promise<string[]> {
  const time = await dateCommit();
  const values = {
    DENO_VERSION: Deno.version.deno,
    VERSION: config.version,
    COMMIT: await describeCommit(),
    SOURCE_DATE_EPOCH: time,
    ...engine === "buildah" && { BUILDPLATFORM: `linux/${HOST}` }, // Docker knows
    ...Object.fromEntries(
      ["DENO_IMAGE", "DEBIAN_IMAGE", "BASE_IMAGE", "SOURCE"].flatMap((name) => {
        const value = Deno.env.get(name);
        return value ? [[name, value]] : [];
      }),
    ),
  };
  const authorities = Deno.env.get("CA_FILE") || Deno.env.get("SSL_CERT_FILE");
  const runtimes = (Deno.env.get("DENORT_BIN") ?? "").split(":").filter(Boolean);
  for (const [index, path] of runtimes.entries()) await Deno.copyFile(path, `${folder}/${index}`);
  return [
    ...Object.entries(values).map(([name, value]) => `--build-arg=${name}=${value}`),
    ...engine === "buildah" ? [`--timestamp=${time}`] : [],
    ...authorities ? [`--secret=id=ca,src=${authorities}`] : [],
    ...runtimes.length > 0 ? [`--build-context=denort=${folder}`] : [],
  ];
}

async function show(program = "", ...args: readonly string[]): Promise<void> {
  const { code } = await new Deno.Command(program, { args: [...args], stdin: "null" }).spawn().status;
  if (code !== 0) throw new Error(`Cannot build the image: "${program} ${args.join(" ")}" failed`);
}

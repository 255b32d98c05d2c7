import { assert, assertEquals, assertMatch } from "@std/assert";
import { readElf } from "../../.ci/elf.ts";
import { BINARY } from "../support/program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What the program is made of. */
const SOURCES = [".ci", "deno.json", "deno.lock", "lib", "main.ts"];
const REMEDY = (target: string) =>
  `Set DENORT_BIN to the path of a denort for ${target}, and DENO_VERSION to its release, as in: ` +
  "DENO_VERSION=2.7.11 DENORT_BIN=/path/to/denort make build\n";
const HOST = Deno.build.arch === "aarch64" ? "arm64" : "amd64";

/** Compiles what dist/ has, or fails to. */
async function compile(env: Record<string, string>): Promise<{ code: number; stderr: string }> {
  const args = ["run", "--quiet", "-P=test", ".ci/compile.ts"];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("a build at another depth of path, without git, gives the same bytes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const deep = `${folder}/a/deeper/place`;
    await Deno.mkdir(deep, { recursive: true });
    await run("cp", "--recursive", ...SOURCES.map((source) => `${ROOT}${source}`), deep);
    const [, commit = ""] = /\((.*)\)/.exec(await run(BINARY, "--version")) ?? [];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "build"],
      cwd: deep,
      env: { COMMIT: commit },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const sum = async (path: string) => (await run("sha256sum", path)).split(" ")[0];
    assertEquals(await sum(`${deep}/dist/apiserver-proxy-sidecar`), await sum(BINARY));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the program is of this machine's architecture, and needs glibc 2.27 at most", async () => {
  const elf = readElf(await Deno.readFile(BINARY));
  assertEquals(elf?.architecture, HOST);
  const versions = (elf?.glibc ?? []).map((version) => Number(version.split(".")[1]));
  assert(versions.length > 0);
  assertEquals(Math.max(...versions), 27);
});

Deno.test("a runtime of another architecture, or none, is refused", async () => {
  assertEquals(await compile({ ARCH: HOST === "arm64" ? "amd64" : "arm64", DENORT_BIN: Deno.execPath() }), {
    code: 1,
    stderr: HOST === "arm64"
      ? `Cannot build for amd64: DENORT_BIN "${Deno.execPath()}" is arm64\n${REMEDY("x86_64-unknown-linux-gnu")}`
      : `Cannot build for arm64: DENORT_BIN "${Deno.execPath()}" is amd64\n${REMEDY("aarch64-unknown-linux-gnu")}`,
  });
  assertEquals(await compile({ ARCH: "arm64", DENORT_BIN: "/nowhere:/dev/null" }), {
    code: 1,
    stderr: 'Cannot build for arm64: DENORT_BIN "/nowhere" is not there, DENORT_BIN "/dev/null" is ' +
      `no ELF file of a known architecture\n${REMEDY("aarch64-unknown-linux-gnu")}`,
  });
  assertEquals(await compile({ ARCH: "mips", DENORT_BIN: "" }), {
    code: 1,
    stderr: "Cannot build for mips: no such architecture\nGive one of amd64, arm64\n",
  });
});

Deno.test("a runtime that cannot be fetched is two lines: what, and what to set", async () => {
  const cache = await Deno.makeTempDir();
  try {
    const { code, stderr } = await compile({
      ARCH: "arm64",
      DENORT_BIN: "",
      DENO_DIR: cache,
      HTTPS_PROXY: "http://127.0.0.1:1", // nothing listens there
    });
    assertEquals(code, 1);
    const [first = "", ...rest] = stderr.split("\n");
    assertMatch(first, /^Cannot build for arm64: https:\/\/\S+ cannot be fetched: \S/);
    assertEquals(rest.join("\n"), REMEDY("aarch64-unknown-linux-gnu"));
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

/** Runs a program that has to succeed, and gives its standard output. */
async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

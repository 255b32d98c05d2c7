import { assertEquals, assertMatch } from "@std/assert";
import { run } from "../lib/run.ts";

/** What a command line that asks for no work comes to. */
async function answerTo(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: "", stderr: "" };
  const { stdout, stderr } = Deno;
  const writers = { stdout: stdout.write, stderr: stderr.write };
  for (const name of ["stdout", "stderr"] as const) {
    Deno[name].write = (bytes) => {
      said[name] += new TextDecoder().decode(bytes);
      return Promise.resolve(bytes.length);
    };
  }
  try {
    return { code: await run(argv), ...said };
  } finally {
    [stdout.write, stderr.write] = [writers.stdout, writers.stderr];
  }
}

Deno.test("run() answers --help and --version on standard output", async () => {
  const help = await answerTo("--help");
  assertEquals([help.code, help.stderr], [0, ""]);
  assertMatch(help.stdout, /--ip-address/);
  const version = await answerTo("--version", "--ip-address=10.96.0.2");
  assertEquals([version.code, version.stderr], [0, ""]);
  assertMatch(version.stdout, /^apiserver-proxy-sidecar \d+\.\d+\.\d+ \(\w+\)\n$/);
});

Deno.test("run() names each flag that is wrong on standard error, and gives 2", async () => {
  const { code, stdout, stderr } = await answerTo("--ip-address=10.96.0.300", "--sync-interval=soon", "--prot=443");
  assertEquals([code, stdout], [2, ""]);
  assertMatch(stderr, /--prot[^]*10\.96\.0\.300[^]*soon[^]*\nRun "apiserver-proxy-sidecar --help" for all flags\n$/);
});

Deno.test("run() listens for signals, and takes its listeners away", async () => {
  const added: string[] = [];
  const { addSignalListener, removeSignalListener } = Deno;
  Deno.addSignalListener = (signal) => void added.push(`+${signal}`);
  Deno.removeSignalListener = (signal) => void added.push(`-${signal}`);
  try {
    assertEquals((await answerTo("--version")).code, 0);
  } finally {
    Object.assign(Deno, { addSignalListener, removeSignalListener });
  }
  const of = (sign: string) => added.filter((it) => it.startsWith(sign)).map((it) => it.slice(1)).toSorted();
  assertEquals(of("-"), of("+"));
  assertEquals(of("+").includes("SIGTERM"), true);
});

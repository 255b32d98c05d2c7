/**
 * Measures what a pass takes with 1, 16 and 256 addresses: the pass as the program itself tells it, and the whole process of
 * `--daemon=false`; the first time, when nothing is there, and later, when all is in order; and in a daemon.
 *
 *     deno run -P=test tests/bench/addresses.ts [--binary] [--rounds=5] [--passes=20]
 *
 * A pass over 256 addresses may take three times what one over a single address takes. Each is measured in a network namespace of its own.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { Namespace } from "../support/namespace.ts";
import { type Backend, BACKENDS, BINARY, Program, SOURCE, state, toolbox } from "../support/program.ts";

const COUNTS = [1, 16, 256] as const;
const ALLOWED = 3;

/** The figures of one number of addresses, in milliseconds. */
interface Figures {
  /** The first pass of a process, that puts all in. */
  readonly firstPass: number;
  readonly firstProcess: number;
  /** The first pass of a process, that finds all in order. */
  readonly steadyPass: number;
  readonly steadyProcess: number;
  /** A later pass of a daemon, that finds all in order. */
  readonly daemonPass: number;
}

interface Options {
  readonly program: readonly string[];
  readonly rounds: number;
  readonly passes: number;
}

async function measure(backend: Backend, count: number, { program, rounds, passes }: Options): Promise<Figures> {
  await using node = await Namespace.create();
  const path = await toolbox(node, { backend });
  const ips = Array.from({ length: count }, (_, i) => `10.97.0.${i}`);
  const flags = [`--ip-address=${ips.join(",")}`, "--setup-iptables", `--iptables-mode=${backend}`, "-v=2"];
  const once = async (...more: string[]): Promise<{ pass: number; whole: number }> => {
    const started = performance.now();
    await using child = await Program.start(node, [...flags, "--daemon=false", ...more], { path, program });
    const { code, stderr } = await child.end();
    const whole = performance.now() - started;
    assertEquals(code, 0, stderr);
    return { pass: durations(stderr)[0]!, whole };
  };

  const firsts: { pass: number; whole: number }[] = [];
  const laters: { pass: number; whole: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    firsts.push(await once());
    assertEquals((await state(node, backend)).length, 6 * count);
    laters.push(await once());
    if (round < rounds - 1) await once("--cleanup");
  }

  await using daemon = await Program.start(node, [...flags, "--watch=false", "--sync-interval=1h"], { path, program });
  for (let pass = 1; pass <= passes + 1; pass++) {
    await daemon.until(() => assertEquals(durations(daemon.stderr).length, pass));
    daemon.kill("SIGHUP");
  }
  const { stderr } = await daemon.stop();
  return {
    firstPass: median(firsts.map(({ pass }) => pass)),
    firstProcess: median(firsts.map(({ whole }) => whole)),
    steadyPass: median(laters.map(({ pass }) => pass)),
    steadyProcess: median(laters.map(({ whole }) => whole)),
    daemonPass: median(durations(stderr).slice(1, passes + 1)),
  };
}

function durations(stderr: string): number[] {
  return [...stderr.matchAll(/Made a pass .*duration="([\d.]+)ms"/g)].map(([, ms]) => Number(ms));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function print(cells: readonly string[]): void {
  const line = cells.map((cell, i) => i === 0 ? cell.padEnd(30) : cell.padStart(8)).join("");
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

const TITLES: Readonly<Record<keyof Figures, string>> = {
  firstPass: "set-up, pass",
  firstProcess: "set-up, whole process",
  steadyPass: "in order, pass",
  steadyProcess: "in order, whole process",
  daemonPass: "in order, pass of a daemon",
};

if (import.meta.main) {
  const { binary, rounds, passes } = parseArgs(Deno.args, {
    boolean: ["binary"],
    string: ["rounds", "passes"],
    default: { rounds: "5", passes: "20" },
  });
  const options = { program: binary ? [BINARY] : SOURCE, rounds: Number(rounds), passes: Number(passes) };
  for (const backend of BACKENDS) {
    const figures: Figures[] = [];
    for (const count of COUNTS) figures.push(await measure(backend, count, options));
    print([`${backend}, ms (median)`, ...COUNTS.map(String), `${COUNTS.at(-1)}:1`]);
    for (const [key, title] of Object.entries(TITLES) as [keyof Figures, string][]) {
      const values = figures.map((figure) => figure[key]);
      const ratio = values.at(-1)! / values[0]!;
      print([title, ...values.map((ms) => ms.toFixed(1)), ratio.toFixed(1), ratio > ALLOWED ? "  missed" : ""]);
      // Setting up 1,280 rules is no pass over what is in order.
      if (key === "steadyPass" && ratio > ALLOWED) Deno.exitCode = 1;
    }
  }
}

/**
 * What one process costs that makes one pass and ends, beside an empty program of the same runtime: whole, and by stages.
 *
 * @module
 */
import type { Bench, Result } from "./bench.ts";
import { ADDRESS, FLAGS } from "./daemon.ts";
import { addKubelet } from "./foreign.ts";
import { Node, type Timed } from "./node.ts";
import { median, ratios, row } from "./rows.ts";

/** Wanted: a pass takes so many times what an empty program takes; a fresh one so many milliseconds more. */
const TIMES_EMPTY = 2.2;
const FRESH_MS = 3;
/** One that does not answer in its first rounds is warm: files are cached. */
const WARM_UP = 2;

const ONCE = [...FLAGS, "--daemon=false"];

/** Runs a process that has to succeed. */
export async function succeed(node: Node, argv: readonly string[]): Promise<Timed> {
  const timed = await node.time(argv);
  if (timed.code !== 0) throw new Error(`Cannot run "${argv.join(" ")}": exit code ${timed.code}: ${timed.stderr}`);
  return timed;
}

/** Measures the rows of one-shot passes. They take turns, so that what else the machine does meets all. */
export async function measurePass({ programs, quick }: Bench): Promise<Result> {
  const { ours, empty, reference } = programs;
  const [nft, legacy] = [["--iptables-mode=nft"], ["--iptables-mode=legacy"]];
  await using node = await Node.create();
  await using fresh = await Node.create();
  await addKubelet(node, "nft");
  const kinds = {
    empty: () => succeed(node, empty),
    version: () => succeed(node, [...ours, "--version"]),
    given: () => succeed(node, [...ours, ...ONCE, ...nft]),
    auto: () => succeed(node, [...ours, ...ONCE]),
    legacy: () => succeed(node, [...ours, ...ONCE, ...legacy]),
    stages: () => succeed(node, [...ours, ...ONCE, ...nft, "-v=4"]),
    fresh: async () => {
      await fresh.run(["nft", "flush", "ruleset"]);
      await fresh.run(["ip", "-force", "-batch", "-"], `address flush dev lo to ${ADDRESS}\n`);
      return succeed(fresh, [...ours, ...ONCE, ...nft]);
    },
    reference: async () => {
      const { ms } = JSON.parse(await node.run([...reference, ADDRESS]));
      return { ms, from: NaN, to: NaN, code: 0, stderr: "" };
    },
  };
  const times = new Map(Object.keys(kinds).map((kind) => [kind, [] as Timed[]]));
  for (let round = -WARM_UP; round < (quick ? 8 : 100); round++) {
    for (const [kind, run] of Object.entries(kinds)) {
      const timed = await run();
      if (round >= 0) times.get(kind)!.push(timed);
    }
  }
  const ms = (kind: keyof typeof kinds) => times.get(kind)!.map(({ ms }) => ms);
  const pass = (what: string, kind: keyof typeof kinds) => [
    row(`${what}: whole process`, "ms", ms(kind)),
    row(`${what}: in empty programs`, "x", ratios(ms(kind), ms("empty")), { p50: TIMES_EMPTY }),
  ];
  return {
    rows: [
      row("an empty program of the same runtime", "ms", ms("empty")),
      row("reference: one pass, all there, without its runtime's start", "ms", ms("reference")),
      ...pass("one pass, all there, back end nft", "given"),
      ...pass("one pass, all there, back end auto", "auto"),
      ...pass("one pass, all there, back end legacy", "legacy"),
      row("one pass, nothing there, back end nft: whole process", "ms", ms("fresh"), {
        p50: TIMES_EMPTY * median(ms("empty")) + FRESH_MS,
      }),
      row("start: code loaded, flags read (--version)", "ms", ms("version")),
      ...stages(times.get("stages")!),
    ],
  };
}

/** From the fork until the first command is started, the last has answered, and the process has ended. */
function stages(runs: readonly Timed[]) {
  const points = runs.map(({ from, to, stderr }) => {
    const midnight = new Date(from).setUTCHours(0, 0, 0, 0);
    const commands = [...stderr.matchAll(/^I\d{4} (\d\d):(\d\d):([\d.]+) .*command=.* duration="([\d.]+)ms"/gm)];
    const ends = commands.map(([, h, m, s]) => midnight + 1000 * (3600 * Number(h) + 60 * Number(m) + Number(s)));
    const starts = commands.map(([, , , , duration], i) => ends[i]! - Number(duration));
    return { first: Math.min(...starts) - from, last: Math.max(...ends) - from, end: to - from };
  });
  return [
    row("start: first command started (told at -v=4)", "ms", points.map(({ first }) => first)),
    row("start: last command has answered (told at -v=4)", "ms", points.map(({ last }) => last)),
    row("start: process has ended (at -v=4)", "ms", points.map(({ end }) => end)),
  ];
}

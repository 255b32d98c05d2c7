/**
 * Measures the compiled program (`make build`), beside an empty one of the same runtime and the original's way of working, in
 * network namespaces of its own: prints one table, writes dist/bench.json, and draws repair.svg and scale.svg, in dist/ if it is a
 * quick run, else in docs/, where it also puts the table into performance.md.
 *
 *     make bench [QUICK=1] [PROGRAM=FILE] [ONLY=pass,repair]
 *
 * @module
 */
import { type Bench, type Group, type Result, seeded } from "./bench.ts";
import { measureBusiest } from "./busiest.ts";
import { draw } from "./draw.ts";
import { measureGrowth } from "./growth.ts";
import { niceness } from "./libc.ts";
import { measureLogging } from "./logging.ts";
import { measurePass } from "./pass.ts";
import { findPrograms } from "./programs.ts";
import { measurePoll, measureRepair } from "./repair.ts";
import { cells, row, table, TITLES } from "./rows.ts";
import { measureSteady } from "./steady.ts";
import { measureStorms } from "./storms.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

const GROUPS: readonly Group[] = [
  { name: "steady", measure: measureSteady },
  { name: "pass", measure: measurePass },
  { name: "repair", measure: measureRepair },
  { name: "busiest", measure: measureBusiest },
  { name: "growth", measure: measureGrowth },
  { name: "storms", measure: measureStorms },
  { name: "log", measure: measureLogging },
];
const POLL = "reference: address, noticed by a poll each minute";

async function main(): Promise<number> {
  const quick = !["", "0", undefined].includes(Deno.env.get("QUICK"));
  const only = Deno.env.get("ONLY")?.split(",");
  const programs = await findPrograms(Deno.env.get("PROGRAM") || undefined);
  const bench: Bench = { programs, random: seeded(), quick };
  const header = await describe(programs.ours, quick);
  print(`${header}\n`);
  const started = performance.now();
  const results: Result[] = [];
  const failed: string[] = [];
  // Most of its time it waits: it does so beside the first groups, of which one measures nothing that takes time.
  const poll = measurePollIf(only?.includes("poll") !== false, bench);
  poll.catch(() => {}); // told when it is waited for
  const groups = [...GROUPS.filter(({ name }) => only?.includes(name) !== false), {
    name: "poll",
    measure: () => poll,
  }];
  for (const { name, measure } of groups) {
    try {
      results.push(await measure(bench));
    } catch (error) {
      failed.push(`${name}: ${error instanceof Error ? error.stack : error}`);
    }
    // An hour's figures are not lost when something ends it early.
    await write(`${ROOT}dist/bench.json`, header, results);
    const load = await Deno.readTextFile("/proc/loadavg");
    const text = `${((performance.now() - started) / 1000).toFixed(0)} s: ${name}, load ${load.split(" ")[0]}\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
  const rows = results.flatMap(({ rows }) => rows);
  const series = results.flatMap(({ series = [] }) => series);
  const text = table([TITLES, ...rows.map(cells)]);
  if (only === undefined) await draw(`${ROOT}${quick ? "dist" : "docs"}/`, { rows, series, poll: POLL });
  if (only === undefined && !quick) await publish(`${header}\n\n${text}`);
  print(text);
  const missed = rows.filter(({ holds }) => holds === false).length;
  print(`${rows.length} rows, ${missed} do not hold, ${((performance.now() - started) / 60_000).toFixed(1)} min\n`);
  print(failed.map((error) => `Cannot measure ${error}\n`).join(""));
  return failed.length === 0 ? 0 : 1;
}

async function measurePollIf(wanted: boolean, bench: Bench): Promise<Result> {
  return { rows: wanted ? [row(POLL, "ms", await measurePoll(bench))] : [] };
}

/** Puts the table into docs/performance.md. */
async function publish(text: string): Promise<void> {
  const file = `${ROOT}docs/performance.md`;
  const [before = "", , after = ""] = (await Deno.readTextFile(file)).split(/^(```text\n[^]*?^```\n)/m);
  await Deno.writeTextFile(file, `${before}\`\`\`text\n${text}\`\`\`\n${after}`);
}

async function write(file: string, header: string, results: readonly Result[]): Promise<void> {
  const rows = results.flatMap(({ rows }) => rows);
  const series = results.flatMap(({ series = [] }) => series);
  await Deno.writeTextFile(file, `${JSON.stringify({ header, rows, series }, null, 2)}\n`);
}

/** On what, with what, and beside what else the figures were made. */
async function describe(ours: readonly string[], quick: boolean): Promise<string> {
  const output = async (program: string, ...args: string[]) => {
    const { stdout } = await new Deno.Command(program, { args }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  const load = (await Deno.readTextFile("/proc/loadavg")).split(" ").slice(0, 3).join(" ");
  return [
    `${await output(ours[0]!, ...ours.slice(1), "--version")}${quick ? ", QUICK" : ""}`,
    `${navigator.hardwareConcurrency} cores, Linux ${Deno.osRelease()}, Deno ${Deno.version.deno}`,
    `${await output("iptables", "--version")}, ${await output("nft", "--version")}`,
    `niceness ${niceness()}, load at the start: ${load}`,
  ].join("; ");
}

/** Where this user is not root, all of it runs in a user namespace in which it is. */
async function enter(): Promise<number> {
  const args = ["--user", "--map-root-user", Deno.execPath(), "run", "--quiet", "-P=test", import.meta.filename!];
  return (await new Deno.Command("unshare", { args }).spawn().status).code;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

if (import.meta.main) Deno.exitCode = await (Deno.uid() === 0 ? main() : enter());

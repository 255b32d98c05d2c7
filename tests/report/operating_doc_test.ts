import { assertEquals, assertGreater } from "@std/assert";
import { ItemStates } from "../../lib/report/item_states.ts";
import { Metrics } from "../../lib/report/metrics.ts";
import { configOf, itemsOf } from "../support/reports.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));
const DOCUMENT = await read("docs/operating.md");

/** The cells of the rows of a section's first table, without its head. */
function table(heading: string): readonly (readonly string[])[] {
  const section = DOCUMENT.split(/^#+ /m).find((section) => section.startsWith(`${heading}\n`)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2);
  return rows.map((row) => row.slice(1, -1).split("|").map((cell) => cell.trim()));
}

/** What stands between backticks. */
function quoted(cell = ""): readonly string[] {
  return [...cell.matchAll(/`(.*?)`/g)].map(([, text = ""]) => text);
}

function page(): string {
  const config = configOf("--setup-iptables");
  return new Metrics(config, { states: new ItemStates(itemsOf(config)), clock: { now: () => 0 } }).text();
}

Deno.test("docs/operating.md has each metric, with its type and its labels", () => {
  const documented = table("Metrics").map(([name, type, labels]) => ({
    name: `apiserver_proxy_sidecar_${quoted(name)}`,
    type,
    labels: quoted(labels),
  }));
  const served = [...page().matchAll(/^# TYPE (\S+) (\S+)\n[^{ ]+(?:\{(.*)\})?/gm)].map((
    [, name, type, labels = ""],
  ) => ({
    name,
    type,
    labels: [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== "le"),
  }));
  assertEquals<unknown>(documented, served);
});

Deno.test("docs/operating.md has the values of the labels that have few", () => {
  for (const label of ["kind", "result", "cause"]) {
    const documented = new RegExp(`^- \`${label}\`: ([\\w, ]+)\\.`, "m").exec(DOCUMENT)?.[1]?.split(", ");
    const served = [...page().matchAll(new RegExp(`\\b${label}="(\\w+)"`, "g"))].map(([, value]) => value);
    assertEquals<unknown>(documented, [...new Set(served)], label);
  }
  const watchers = /^- `program` of watchers: ([\w, -]+)\./m.exec(DOCUMENT)?.[1]?.split(", ");
  const served = [...page().matchAll(/_watcher_listening\{program="(.*?)"/g)].map(([, value]) => value);
  assertEquals<unknown>(watchers, served);
});

Deno.test("docs/operating.md has each alert", async () => {
  const documented = table("Alerts").map(([alert]) => quoted(alert)[0]);
  const there = [...(await read("deploy/alerts.yaml")).matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name);
  assertEquals(documented, there);
});

Deno.test("docs/operating.md quotes log lines that the program can write", async () => {
  const folders = ["", "node/", "reconcile/", "daemon/", "report/"];
  const files = (await Promise.all(folders.map((folder) =>
    Array.fromAsync(Deno.readDir(new URL(`lib/${folder}`, ROOT)))
      .then((entries) => entries.filter(({ isFile }) => isFile).map(({ name }) => `lib/${folder}${name}`))
  ))).flat();
  const source = (await Promise.all(files.map(read))).join("").toLowerCase();
  const lines = table("What the log says").flatMap(([line]) => quoted(line));
  assertGreater(lines.length, 15);
  assertEquals(lines.filter((line) => !source.includes(line.toLowerCase())), []);
});

/**
 * Draws the pictures of docs/performance.md.
 *
 * @module
 */
import type { Series } from "./bench.ts";
import type { Row } from "./rows.ts";

/** What is drawn. */
export interface Drawing {
  readonly rows: readonly Row[];
  readonly series: readonly Series[];
  /** The row that stands for a poll each minute. */
  readonly poll: string;
}

const WIDTH = 820;
const INK = "#57606a";
const COLOURS = ["#0969da", "#1a7f37", "#cf222e"] as const;

/** Writes repair.svg and scale.svg to a folder. */
export async function draw(folder: string, { rows, series, poll }: Drawing): Promise<void> {
  const repairs = rows.filter(({ what, unit }) => unit === "ms" && /^repair: |^busiest node.* lost/.test(what));
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(
    `${folder}repair.svg`,
    repairPicture([...repairs, ...rows.filter(({ what }) => what === poll)]),
  );
  await Deno.writeTextFile(`${folder}scale.svg`, scalePicture(series));
}

/** A bar for each row from its p50 to its p99, on a logarithmic scale from 0.1 ms to a minute. */
function repairPicture(rows: readonly Row[]): string {
  const [left, line, top] = [390, 22, 46];
  const bottom = top + line * rows.length;
  const x = (ms: number) => left + (WIDTH - left - 60) * Math.log10(Math.max(0.1, ms) / 0.1) / Math.log10(600_000);
  const ticks = [0.1, 1, 10, 100, 1000, 10_000, 60_000];
  const names = ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "1 min"];
  return svg(bottom + 16, [
    text(8, 20, "How long a loss lasts: median (dot) to 99th percentile", { weight: "bold" }),
    ...ticks.flatMap((tick, i) => [
      `<line x1="${n(x(tick))}" y1="${top - 8}" x2="${n(x(tick))}" y2="${bottom}" stroke="#d0d7de"/>`,
      text(x(tick), top - 12, names[i]!, { anchor: "middle" }),
    ]),
    ...rows.flatMap(({ what, p50, p99 }, i) => {
      const y = top + line * (i + 0.5);
      const colour = COLOURS[what.startsWith("reference") ? 2 : what.startsWith("busiest") ? 1 : 0];
      return [
        text(left - 10, y + 4, what.replace("repair: ", ""), { anchor: "end" }),
        `<rect x="${n(x(p50))}" y="${y - 4}" width="${
          n(Math.max(1, x(p99) - x(p50)))
        }" height="8" fill="${colour}" opacity="0.35"/>`,
        `<circle cx="${n(x(p50))}" cy="${y}" r="4" fill="${colour}"/>`,
      ];
    }),
  ]);
}

/** A panel for each thing that grows, with a line for each way of making a pass; both scales are logarithmic. */
function scalePicture(series: readonly Series[]): string {
  const panels = [...Map.groupBy(series, ({ name }) => name.split(": ")[0]!)];
  const [top, height, gap] = [64, 200, 62];
  const width = (WIDTH - gap * panels.length - 20) / panels.length;
  const [least, most] = [1, 10_000];
  const y = (ms: number) => top + height - height * Math.log10(Math.max(least, ms) / least) / Math.log10(most / least);
  return svg(top + height + 34, [
    text(8, 20, "What a pass takes (median), by what others have on the node", { weight: "bold" }),
    ...(panels[0]?.[1] ?? []).map(({ name }, i) =>
      text(
        8 + 260 * i,
        40,
        { "one process": "● one process, from start to end", daemon: "● a pass of the daemon" }[
          name.split(": ")[1]!
        ] ?? "● reference: one process for each question",
        { colour: COLOURS[i]! },
      )
    ),
    ...panels.flatMap(([name, lines], panel) => {
      const left = gap + panel * (width + gap);
      const largest = Math.max(...lines.flatMap(({ points }) => points.map(([x]) => x)));
      const x = (size: number) => left + width * Math.log10(Math.max(1, size)) / Math.log10(largest);
      return [
        ...[1, 10, 100, 1000, 10_000].flatMap((ms) => [
          `<line x1="${n(left)}" y1="${n(y(ms))}" x2="${n(left + width)}" y2="${n(y(ms))}" stroke="#d0d7de"/>`,
          text(left - 4, y(ms) + 4, ms < 1000 ? `${ms} ms` : `${ms / 1000} s`, { anchor: "end" }),
        ]),
        ...lines[0]!.points.map(([size]) => text(x(size), top + height + 16, short(size), { anchor: "middle" })),
        text(left + width / 2, top + height + 32, name, { anchor: "middle", weight: "bold" }),
        ...lines.flatMap(({ points }, i) => [
          `<polyline points="${
            points.map(([size, ms]) => `${n(x(size))},${n(y(ms))}`).join(" ")
          }" fill="none" stroke="${COLOURS[i]}" stroke-width="2"/>`,
          ...points.map(([size, ms]) => `<circle cx="${n(x(size))}" cy="${n(y(ms))}" r="3" fill="${COLOURS[i]}"/>`),
        ]),
      ];
    }),
  ]);
}

function short(size: number): string {
  return size < 1000 ? String(size) : `${size / 1000}k`;
}

function svg(height: number, parts: readonly string[]): string {
  const attributes =
    `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12"`;
  const paper = `<rect width="${WIDTH}" height="${height}" fill="white"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${attributes}>\n${[paper, ...parts].join("\n")}\n</svg>\n`;
}

function text(
  x: number,
  y: number,
  content: string,
  { anchor = "start", weight = "normal", colour = INK }: { anchor?: string; weight?: string; colour?: string } = {},
): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${n(x)}" y="${
    n(y)
  }" text-anchor="${anchor}" font-weight="${weight}" fill="${colour}">${escaped}</text>`;
}

function n(value: number): string {
  return String(Math.round(10 * value) / 10);
}

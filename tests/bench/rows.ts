/**
 * The rows of the table: samples, what is wanted of them, and whether that holds.
 *
 * @module
 */

/** What a figure counts. `x` is a ratio of two figures of the same run. */
export type Unit = "ms" | "µs" | "MiB" | "%" | "x";

/** Upper bounds. A row without any is there to be compared with. */
export interface Wanted {
  readonly p50?: number;
  readonly p99?: number;
  readonly worst?: number;
}

/** One line of the table. */
export interface Row {
  readonly what: string;
  readonly unit: Unit;
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly wanted: Wanted;
  /** Undefined where nothing is wanted. */
  readonly holds: boolean | undefined;
  readonly note?: string;
}

/** The smallest value that a share of the values does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(share * values.length) - 1)] ?? NaN;
}

/** The median. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Makes a row of samples. One without samples does not hold. */
export function row(what: string, unit: Unit, samples: readonly number[], wanted: Wanted = {}, note = ""): Row {
  const figures = { p50: median(samples), p99: percentile(samples, 0.99), worst: percentile(samples, 1) };
  const bounds = Object.entries(wanted) as [keyof Wanted, number][];
  return {
    what,
    unit,
    n: samples.length,
    ...figures,
    wanted,
    holds: bounds.length === 0 ? undefined : bounds.every(([name, bound]) => figures[name] <= bound),
    ...note !== "" && { note },
  };
}

/** The ratios of samples that were taken in pairs. */
export function ratios(samples: readonly number[], to: readonly number[]): number[] {
  return samples.map((value, i) => value / (to[i] ?? NaN));
}

/** The titles of {@linkcode cells}. */
export const TITLES = ["what", "n", "p50", "p99", "wanted", "holds"] as const;

/** A row as texts. */
export function cells(row: Row): string[] {
  const show = (value: number) => format(value, row.unit);
  const wanted = (Object.entries(row.wanted) as [string, number][])
    .map(([name, bound]) => `${name} ${show(bound)}`).join(", ");
  return [
    row.note === undefined ? row.what : `${row.what} (${row.note})`,
    String(row.n),
    show(row.p50),
    show(row.p99),
    wanted,
    row.holds === undefined ? "" : row.holds ? "yes" : "NO",
  ];
}

/** A figure with its unit, to three digits. */
export function format(value: number, unit: Unit): string {
  if (Number.isNaN(value)) return "?";
  const [scaled, name] = unit === "ms" && value >= 1000 ? [value / 1000, "s"] as const : [value, unit] as const;
  const digits = scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
  return `${scaled.toFixed(digits)}${name === "x" || name === "%" ? "" : " "}${name}`;
}

/** Lines of cells, aligned; only the first column is text that is read from the left. */
export function table(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  const align = (cell: string, i: number) => i === 0 || i === 4 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!);
  return lines.map((line) => `${line.map(align).join("  ").trimEnd()}\n`).join("");
}

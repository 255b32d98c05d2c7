/**
 * Metrics as Prometheus reads them, in its text format 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * @module
 */

/** Media type of {@linkcode Exposition.text}. */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The values that each label can have. Each combination is a series, and there from the start, at 0. */
export type LabelValues<Label extends string> = Readonly<Record<Label, readonly string[]>>;

/** The labels of one series. */
export type Labels<Label extends string> = Readonly<Record<Label, string>>;

/** Changes one series: adds to a counter, sets a gauge, or has a histogram count a value. */
export type Update<Label extends string> = (labels: Labels<Label>, value: number) => void;

/** A page of metrics. */
export class Exposition {
  readonly #prefix: string;
  readonly #samples = new Map<string, Map<string, number>>();

  /** @param prefix What all names begin with. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** Adds a metric that only grows; its name ends with `_total`. */
  counter<Label extends string>(name: string, help: string, values: LabelValues<Label>): Update<Label> {
    const { samples, sample } = this.#add("counter", name, help, values, [[""]]);
    return (labels, by) => increase(samples, sample(labels), by);
  }

  /** Adds a metric that is set. */
  gauge<Label extends string>(name: string, help: string, values: LabelValues<Label>): Update<Label> {
    const { samples, sample } = this.#add("gauge", name, help, values, [[""]]);
    return (labels, value) => samples.set(sample(labels), value);
  }

  /** Adds a metric that counts values by upper bounds, which rise. */
  histogram<Label extends string>(
    name: string,
    help: string,
    values: LabelValues<Label>,
    bounds: readonly number[],
  ): Update<Label> {
    const buckets = [...bounds, Infinity].map((bound) =>
      ["_bucket", bound === Infinity ? "+Inf" : `${bound}`] as const
    );
    const { samples, sample } = this.#add("histogram", name, help, values, [...buckets, ["_sum"], ["_count"]]);
    return (labels, value) => {
      // A bucket counts all that is up to its bound.
      for (const bucket of buckets.filter((_, index) => value <= (bounds[index] ?? Infinity))) {
        increase(samples, sample(labels, ...bucket), 1);
      }
      increase(samples, sample(labels, "_sum"), value);
      increase(samples, sample(labels, "_count"), 1);
    };
  }

  /** The page as it stands. */
  text(): string {
    return [...this.#samples].map(([head, samples]) =>
      head + [...samples].map(([sample, value]) => `${sample} ${value}\n`).join("")
    ).join("");
  }

  /**
   * Adds a metric with all its series.
   *
   * @param parts The samples of a series: what follows the metric's name, and the label `le`.
   */
  #add<Label extends string>(
    type: "counter" | "gauge" | "histogram",
    name: string,
    help: string,
    values: LabelValues<Label>,
    parts: readonly (readonly [suffix: string, le?: string])[],
  ) {
    const full = this.#prefix + name;
    const names = Object.keys(values) as Label[];
    const sample = (labels: Labels<Label>, suffix?: string, le?: string) => {
      const pairs = [...names.map((name) => [name, labels[name]]), ...le === undefined ? [] : [["le", le]]]
        .map(([name, value = ""]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`);
      return full + (suffix ?? "") + (pairs.length === 0 ? "" : `{${pairs.join(",")}}`);
    };
    const series = combinations(values).flatMap((labels) => parts.map((part) => sample(labels, ...part)));
    const samples = new Map(series.map((name) => [name, 0]));
    this.#samples.set(`# HELP ${full} ${escaped(help)}\n# TYPE ${full} ${type}\n`, samples);
    return { samples, sample };
  }
}

function increase(samples: Map<string, number>, sample: string, by: number): void {
  samples.set(sample, (samples.get(sample) ?? 0) + by);
}

function combinations<Label extends string>(values: LabelValues<Label>): readonly Labels<Label>[] {
  return Object.entries<readonly string[]>(values).reduce<readonly Labels<Label>[]>(
    (all, [label, choices]) => all.flatMap((labels) => choices.map((choice) => ({ ...labels, [label]: choice }))),
    [{} as Labels<Label>],
  );
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

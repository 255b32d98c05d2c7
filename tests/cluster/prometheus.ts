/**
 * Test equipment: Prometheus, which scrapes all nodes and holds the project's alert rules.
 *
 * @module
 */
import { AssertionError } from "@std/assert";
import { Service, spawn } from "./process.ts";
import { METRICS_PORT, type Place } from "./topology.ts";
import { until } from "./until.ts";

/** Where it answers: in the test's own network, which nobody else sees. */
const ADDRESS = "127.0.0.1:9090";
const JOB = "apiserver-proxy-sidecar";
const ALERTS = new URL("../../deploy/alerts.yaml", import.meta.url);

/** A series as a query gives it, with its value, or its values and their times in seconds. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

/** When an alert fired, in seconds since Prometheus had all nodes. */
export interface Firing {
  readonly name: string;
  readonly instance: string;
  readonly from: number;
  readonly to: number;
}

/** What {@linkcode Prometheus.start} takes. */
export interface PrometheusOptions {
  /** For its configuration and data. */
  readonly directory: string;
  readonly places: readonly Place[];
  /** Seconds between two scrapes, and between two looks at the rules. */
  readonly interval: number;
  /** Time of the alert rules runs so many times faster: see {@linkcode hasten}. */
  readonly haste: number;
}

/** Prometheus as a process. */
export class Prometheus implements AsyncDisposable {
  readonly #service: Service;
  readonly #interval: number;
  /** Unix seconds. */
  readonly #started: number;

  private constructor(service: Service, interval: number) {
    this.#service = service;
    this.#interval = interval;
    this.#started = Date.now() / 1000;
  }

  /** Starts it, and waits until it has scraped all nodes. */
  static async start({ directory, places, interval, haste }: PrometheusOptions): Promise<Prometheus> {
    const path = (name: string) => `${directory}/${name}`;
    await Deno.writeTextFile(path("alerts.yaml"), hasten(await Deno.readTextFile(ALERTS), haste));
    const config = {
      global: { scrape_interval: `${interval}s`, evaluation_interval: `${interval}s`, scrape_timeout: `${interval}s` },
      rule_files: ["alerts.yaml"],
      scrape_configs: [{ job_name: JOB, static_configs: [{ targets: places.map(instanceOf) }] }],
    };
    // JSON is YAML.
    await Deno.writeTextFile(path("prometheus.yaml"), JSON.stringify(config));
    const argv = [
      "prometheus",
      `--config.file=${path("prometheus.yaml")}`,
      `--storage.tsdb.path=${path("prometheus")}`,
      `--web.listen-address=${ADDRESS}`,
      "--log.level=warn",
    ];
    const service = new Service("Prometheus", spawn(argv, { stdout: "piped", stderr: "piped" }));
    try {
      const prometheus = new Prometheus(service, interval);
      await until(async () => {
        service.assertRuns();
        const [up] = await prometheus.query(`sum(up{job="${JOB}"})`).catch(() => []);
        if (Number(up?.value?.[1]) !== places.length) throw new AssertionError(`Not all nodes are up: ${service.text}`);
      });
      return prometheus;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#service.pid;
  }

  /**
   * What it answers to a query now.
   *
   * @throws {Error} if the query is wrong
   */
  query(query: string): Promise<readonly Series[]> {
    return this.#ask("query", { query });
  }

  /** A figure that a query gives, or NaN. */
  async figure(query: string): Promise<number> {
    const [series] = await this.query(query);
    return Number(series?.value?.[1]);
  }

  /** All values of a label. */
  async labelValues(label: string, match: string): Promise<readonly string[]> {
    const response = await fetch(
      `http://${ADDRESS}/api/v1/label/${label}/values?${new URLSearchParams({ "match[]": match })}`,
    );
    return (await response.json()).data;
  }

  /** Each alert that has fired since the start. */
  async history(): Promise<readonly Firing[]> {
    const series = await this.#ask("query_range", {
      query: 'ALERTS{alertstate="firing"}',
      start: String(this.#started),
      end: String(Date.now() / 1000),
      step: String(this.#interval),
    });
    return series.map(({ metric, values = [] }) => ({
      name: metric.alertname ?? "",
      instance: metric.instance ?? "",
      from: Math.round(values[0]![0] - this.#started),
      to: Math.round(values.at(-1)![0] - this.#started),
    }));
  }

  async #ask(what: string, parameters: Record<string, string>): Promise<readonly Series[]> {
    const response = await fetch(`http://${ADDRESS}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const { status, error, data } = await response.json();
    if (status !== "success") throw new Error(`Cannot query "${parameters.query}": ${error}`);
    return data.result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service[Symbol.asyncDispose]();
  }
}

/** How a node is called in metrics. */
export function instanceOf({ v4 }: Place): string {
  return `${v4}:${METRICS_PORT}`;
}

/** Alert rules for a time that runs faster: all that they wait for, and all that they look back to, is so many times shorter. */
export function hasten(rules: string, times: number): string {
  const shorter = (duration: string) => {
    const unit = { s: 1, m: 60, h: 3600 }[duration.at(-1) as "s" | "m" | "h"];
    return `${Math.ceil(parseInt(duration) * unit / times)}s`;
  };
  return rules.replaceAll(/(?<=^ *for: |\[|\[\w+:)\d+[smh](?=$|:|\])/gm, shorter);
}

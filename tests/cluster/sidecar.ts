/**
 * Test equipment: the compiled program on a node, as its DaemonSet runs it.
 *
 * @module
 */
import { AssertionError } from "@std/assert";
import { BINARY } from "../support/program.ts";
import type { Host } from "./host.ts";
import type { Client } from "./load.ts";
import { Service } from "./process.ts";
import { ADDRESSES, METRICS_PORT, type Place } from "./topology.ts";
import { until } from "./until.ts";

/** Where the kubelet would ask. */
const PROBES = "127.0.0.1:8081";
const WHAT = [`--ip-address=${ADDRESSES.v4},${ADDRESSES.v6}`, "--setup-iptables"];

/** The program on a node. */
export class Sidecar implements AsyncDisposable {
  readonly #host: Host;
  readonly #place: Place;
  /** Asks for its probes. */
  readonly #kubelet: Client;
  readonly #logs: string[] = [];
  #running: Service | undefined;

  constructor(host: Host, place: Place, kubelet: Client) {
    this.#host = host;
    this.#place = place;
    this.#kubelet = kubelet;
  }

  /** What runs now. */
  get service(): Service {
    if (this.#running === undefined) throw new Error(`No sidecar runs on ${this.#place.name}`);
    return this.#running;
  }

  /** What all that have run here have logged. */
  get log(): string {
    return this.#logs.join("") + (this.#running?.text ?? "");
  }

  /** The init container: one pass. */
  async init(): Promise<void> {
    await this.#once([]);
  }

  /** The container: runs until it is stopped; waits until it is ready. */
  async start(...flags: readonly string[]): Promise<void> {
    const argv = [
      BINARY,
      ...WHAT,
      `--health-probe-bind-address=${PROBES}`,
      `--metrics-bind-address=${this.#place.v4}:${METRICS_PORT}`,
      ...flags,
    ];
    const service = new Service(
      `The sidecar of ${this.#place.name}`,
      this.#host.spawn(argv, { stdout: "piped", stderr: "piped" }),
    );
    this.#running = service;
    await until(async () => {
      service.assertRuns();
      for (const path of ["healthz", "readyz"]) {
        const { status, body } = await this.#kubelet.get(`http://${PROBES}/${path}`);
        if (status !== 200) throw new AssertionError(`/${path} of ${this.#place.name}: ${status} ${body}`);
      }
    });
  }

  /** Ends it by SIGTERM, and leaves in place what it kept. */
  async stop(): Promise<void> {
    const { service } = this;
    const { code } = await service.stop();
    this.#logs.push(service.text);
    this.#running = undefined;
    if (code !== 0) {
      throw new Error(`The sidecar of ${this.#place.name} ended with exit code ${code}:\n${service.text}`);
    }
  }

  /** What a rolling upgrade does on one node. */
  async upgrade(...flags: readonly string[]): Promise<void> {
    await this.stop();
    await this.init();
    await this.start(...flags);
  }

  /** Ends it, and removes what it kept. */
  async remove(): Promise<void> {
    await this.stop();
    await this.#once(["--cleanup"]);
  }

  async #once(flags: readonly string[]): Promise<void> {
    await this.#host.ok([BINARY, ...WHAT, "--daemon=false", ...flags]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
  }
}

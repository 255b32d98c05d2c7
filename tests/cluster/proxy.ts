/**
 * Test equipment: HAProxy on a node, as the proxy that the pods' requests go through.
 *
 * @module
 */
import { AssertionError } from "@std/assert";
import type { Host } from "./host.ts";
import { Service } from "./process.ts";
import { ADDRESSES, APISERVER_PORT, APISERVERS, type Place, PORT } from "./topology.ts";
import { until } from "./until.ts";

/** HAProxy's configuration on a node: the right kube-apiserver, and the other one if that is gone. */
export function proxyConfig({ apiserver }: Place): string {
  const [right, other] = [APISERVERS[apiserver], APISERVERS[1 - apiserver]!];
  const listener = (key: "v4" | "v6") =>
    `listen kube-apiserver-${key}
  bind ${ADDRESSES[key]}:${PORT}
  server ${right.name} ${right[key]}:${APISERVER_PORT} check inter 2s
  server ${other.name} ${other[key]}:${APISERVER_PORT} check inter 2s backup
`;
  return `global
  maxconn 1000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
${listener("v4")}${listener("v6")}`;
}

/** HAProxy on a node. */
export class Proxy implements AsyncDisposable {
  readonly #host: Host;
  readonly #config: string;
  #running: Service | undefined;

  /** @param config Path of its configuration. */
  constructor(host: Host, config: string) {
    this.#host = host;
    this.#config = config;
  }

  /** Starts it, and waits until it listens on each address. */
  async start(): Promise<void> {
    await this.#start([]);
  }

  /** Ends it at once, with all its connections. */
  async stop(): Promise<void> {
    await this.#running?.stop("SIGTERM");
    this.#running = undefined;
  }

  /** Starts another one that takes over the listening, then ends this one with the connections it still has. */
  async handOver(): Promise<void> {
    const old = this.#running;
    if (old === undefined) throw new Error(`Cannot hand over the proxy of ${this.#host.name}: there is none`);
    await this.#start(["-sf", String(old.pid)]);
    await old.stop("SIGTERM");
  }

  async #start(args: readonly string[]): Promise<void> {
    const argv = ["haproxy", "-db", "-f", this.#config, ...args];
    const proxy = new Service(
      `The proxy of ${this.#host.name}`,
      this.#host.spawn(argv, { stdout: "piped", stderr: "piped" }),
    );
    this.#running = proxy;
    await until(async () => {
      proxy.assertRuns();
      if (await listeners(proxy.pid) < 2) throw new AssertionError(`HAProxy does not listen:\n${proxy.text}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
  }
}

/** At how many sockets a process listens on {@linkcode PORT}. */
async function listeners(pid: number): Promise<number> {
  try {
    const tables = await Promise.all(["tcp", "tcp6"].map((name) => Deno.readTextFile(`/proc/${pid}/net/${name}`)));
    const isOpen = new RegExp(`^\\s*\\d+: [0-9A-F]+:${PORT.toString(16).toUpperCase().padStart(4, "0")} \\S+ 0A `);
    const open = tables.join("").split("\n").filter((line) => isOpen.test(line))
      .map((line) => `socket:[${line.trim().split(/\s+/)[9]}]`);
    const descriptors = [...Deno.readDirSync(`/proc/${pid}/fd`)]
      .map(({ name }) => linkTarget(`/proc/${pid}/fd/${name}`));
    return open.filter((socket) => descriptors.includes(socket)).length;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0; // it has ended
    throw error;
  }
}

function linkTarget(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return ""; // it was closed in between
  }
}

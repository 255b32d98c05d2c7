/**
 * Test equipment: the cluster as a whole.
 *
 * @module
 */
import { Client, script, sum, type Tally } from "./load.ts";
import { type Certificates, makeCertificates } from "./certificates.ts";
import { FAMILIES, firewall } from "./firewall.ts";
import type { Host } from "./host.ts";
import { Service } from "./process.ts";
import { Proxy, proxyConfig } from "./proxy.ts";
import { Sidecar } from "./sidecar.ts";
import { ADDRESSES, APISERVER_PORT, APISERVERS, type Machines, makeNetwork, type Place, PODS } from "./topology.ts";
import { AssertionError } from "@std/assert";
import { until } from "./until.ts";

/** A node with all that runs there. */
export interface ClusterNode {
  readonly place: Place;
  readonly host: Host;
  readonly pods: readonly Host[];
  /** Its firewall in the language of nft. */
  readonly ruleset: string;
  readonly sidecar: Sidecar;
  readonly proxy: Proxy;
  /** One on the node itself, and one in each pod. */
  readonly clients: { readonly own: Client; readonly pods: readonly Client[] };
}

/** What {@linkcode Cluster.create} takes. */
export interface ClusterOptions {
  /** Number of nodes. */
  readonly count: number;
  /** Of all clients together, so that the machine has time for what is tested. */
  readonly requestsPerSecond: number;
  /** Gives up when it aborts. */
  readonly signal: AbortSignal;
}

/** The cluster. It ends when it is disposed of. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
  /** For files; it goes with the namespace it was made in. */
  readonly directory: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(nodes: readonly ClusterNode[], directory: string, stack: AsyncDisposableStack) {
    this.nodes = nodes;
    this.directory = directory;
    this.#stack = stack;
  }

  /** Makes one on which clients ask, and neither the program nor a proxy runs. */
  static async create({ count, requestsPerSecond, signal }: ClusterOptions): Promise<Cluster> {
    await using stack = new AsyncDisposableStack();
    const directory = await Deno.makeTempDir({ dir: "/run" });
    const certificates = await makeCertificates(directory);
    const { controlPlane, nodes } = await makeNetwork(count, signal);
    for (const apiserver of APISERVERS) stack.use(await startApiserver(controlPlane, apiserver, certificates));
    const every = Math.round(1000 * (1 + PODS) * count / requestsPerSecond);
    const all: ClusterNode[] = [];
    for (const machines of nodes) {
      signal.throwIfAborted();
      all.push(await makeNode(machines, { stack, directory, every, certificates }));
    }
    return new Cluster(all, directory, stack.move());
  }

  /** What all clients found since this was asked last. */
  async report(): Promise<Tally> {
    return sum(
      await Promise.all(this.nodes.flatMap(({ clients: { own, pods } }) => [
        // There the kernel counts what the proxy has lost as well.
        own.report().then((tally) => ({ ...tally, lost: 0 })),
        ...pods.map((client) => client.report()),
      ])),
    );
  }

  /** How long requests may take from now on, in milliseconds. */
  async patience(ms: number, which = clientsOf): Promise<void> {
    await Promise.all(this.nodes.flatMap(which).map((client) => client.patience(ms)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** All clients of a node. */
export function clientsOf({ clients: { own, pods } }: ClusterNode): readonly Client[] {
  return [own, ...pods];
}

interface Making {
  readonly stack: AsyncDisposableStack;
  readonly directory: string;
  readonly every: number;
  readonly certificates: Certificates;
}

async function makeNode(machines: Machines, { stack, directory, every, certificates }: Making): Promise<ClusterNode> {
  const { place, host, pods } = machines;
  for (const family of FAMILIES) await host.ok([`${family.iptables}-restore`], { stdin: firewall(family) });
  const config = `${directory}/${place.name}.cfg`;
  await Deno.writeTextFile(config, proxyConfig(place));
  const { name } = APISERVERS[place.apiserver];
  const addresses = Object.values(ADDRESSES);
  const [own, ...rest] = [host, ...pods].map((where) =>
    stack.use(
      new Client(where, script("client.ts", where.name, name, certificates.authority, String(every), ...addresses)),
    )
  );
  if (own === undefined) throw new Error("Cannot make a client");
  return {
    ...machines,
    ruleset: await host.ok(["nft", "list", "ruleset"]),
    sidecar: stack.use(new Sidecar(host, place, own)),
    proxy: stack.use(new Proxy(host, config)),
    clients: { own, pods: rest },
  };
}

async function startApiserver(
  host: Host,
  { name, v4, v6 }: typeof APISERVERS[number],
  { certificate, key }: Certificates,
): Promise<Service> {
  const argv = script("apiserver.ts", name, certificate, key, String(APISERVER_PORT), v4, v6);
  const service = new Service(name, host.spawn(argv, { stdin: "piped", stdout: "piped", stderr: "piped" }));
  await until(() => {
    service.assertRuns();
    if (!service.text.includes("listening")) throw new AssertionError(`${name} does not listen:\n${service.text}`);
  });
  return service;
}

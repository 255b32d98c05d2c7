/**
 * Test equipment: names and addresses of the cluster, and how its machines are joined.
 *
 *     test's own network:  bridge br0 ─┬─ control-plane (two kube-apiservers)
 *                                      ├─ node1 ─┬─ node1-pod1
 *                                      │         └─ node1-pod2
 *                                      └─ node2 …
 *
 * @module
 */
import { batch, type Host, makeHosts } from "./host.ts";

/** The addresses that the program keeps, and the proxy listens on. */
export const ADDRESSES = { v4: "10.96.0.2", v6: "fd00:10:96::2" } as const;
/** Port of the proxy. */
export const PORT = 443;
/** Port of the kube-apiservers. */
export const APISERVER_PORT = 6443;
/** Where Prometheus comes from. */
export const BRIDGE = { v4: "10.1.0.1", v6: "fd00:1::1" } as const;
/** Port at which a node serves its metrics. */
export const METRICS_PORT = 9100;

/** The two kube-apiservers. */
export const APISERVERS = [
  { name: "apiserver-a", v4: "10.1.0.2", v6: "fd00:1::2" },
  { name: "apiserver-b", v4: "10.1.0.3", v6: "fd00:1::3" },
] as const;

/** Where a node is. */
export interface Place {
  readonly index: number;
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
  /** Which of {@linkcode APISERVERS} is the right one for it; the other is the reserve. */
  readonly apiserver: 0 | 1;
}

/** Number of pods on each node. */
export const PODS = 2;
/** The addresses of a node end here. */
export const MAX_NODES = 200;

/** The place of the node with a number, from 1. */
export function placeOf(index: number): Place {
  return {
    index,
    name: `node${index}`,
    v4: `10.1.1.${index}`,
    v6: `fd00:1::1:${index.toString(16)}`,
    apiserver: index % 2 === 1 ? 0 : 1,
  };
}

/** A node and its pods, joined. */
export interface Machines {
  readonly place: Place;
  readonly host: Host;
  readonly pods: readonly Host[];
}

/** What is made of the network. */
export interface Network {
  readonly controlPlane: Host;
  readonly nodes: readonly Machines[];
}

/** Makes the bridge, the control plane and the nodes with their pods. */
export async function makeNetwork(count: number, signal: AbortSignal): Promise<Network> {
  await batch([
    "link add br0 type bridge",
    "link set br0 addrgenmode none",
    "link set br0 up",
    linkLocal("br0", "1"),
    `address add ${BRIDGE.v4}/16 dev br0`,
    `address add ${BRIDGE.v6}/64 dev br0 nodad`,
  ]);
  const [controlPlane] = await makeHosts(["control-plane"]);
  if (controlPlane === undefined) throw new Error("Cannot make the control plane");
  await plug(controlPlane, "control", APISERVERS);
  const nodes: Machines[] = [];
  for (let index = 1; index <= count; index++) {
    signal.throwIfAborted();
    nodes.push(await makeNode(placeOf(index)));
  }
  return { controlPlane, nodes };
}

async function makeNode(place: Place): Promise<Machines> {
  const names = Array.from({ length: PODS }, (_, i) => `${place.name}-pod${i + 1}`);
  const [host, ...pods] = await makeHosts([place.name, ...names]);
  if (host === undefined) throw new Error(`Cannot make ${place.name}`);
  await plug(host, place.name, [place]);
  await batch([`route add default via ${BRIDGE.v4}`, `route add default via ${BRIDGE.v6}`], host);
  // A node forwards for its pods; what the firewall says of it is another matter. Connections that are tracked by mistake,
  // while NOTRACK rules are lost, are to be seen, and to be forgotten within the time of a test.
  await host.ok(["sh", "-euc", SYSCTLS.map(([key, value]) => `echo ${value} > /proc/sys/net/${key}`).join("\n")]);
  for (const [i, pod] of pods.entries()) {
    const v4 = `10.${i + 2}.${place.index}`;
    const v6 = `fd00:${i + 2}:${place.index.toString(16)}:`;
    await batch([
      `link add pod${i + 1} type veth peer name eth0 netns ${pod.name}`,
      `link set pod${i + 1} addrgenmode none`,
      `link set pod${i + 1} up`,
      linkLocal(`pod${i + 1}`, "1"),
      `address add ${v4}.1/24 dev pod${i + 1}`,
      `address add ${v6}:1/64 dev pod${i + 1} nodad`,
    ], host);
    await batch([
      "link set lo up",
      "link set eth0 addrgenmode none",
      "link set eth0 up",
      linkLocal("eth0", "2"),
      `address add ${v4}.2/24 dev eth0`,
      `address add ${v6}:2/64 dev eth0 nodad`,
      `route add default via ${v4}.1`,
      `route add default via ${v6}:1`,
    ], pod);
  }
  return { place, host, pods };
}

const SYSCTLS = [
  ["ipv4/ip_forward", 1],
  ["ipv6/conf/all/forwarding", 1],
  ["netfilter/nf_conntrack_tcp_timeout_established", 5],
  ["netfilter/nf_conntrack_tcp_timeout_time_wait", 5],
  ["netfilter/nf_conntrack_tcp_timeout_close_wait", 5],
  ["netfilter/nf_conntrack_tcp_timeout_fin_wait", 5],
  ["netfilter/nf_conntrack_tcp_timeout_unacknowledged", 5],
] as const;

/**
 * Gives an interface its link-local address, from which the kernel asks for neighbours when what it has to send comes from an
 * address of another interface. The one that the kernel would make by itself is there only some time later.
 */
function linkLocal(link: string, suffix: string): string {
  return `address add fe80::${suffix}/64 dev ${link} nodad`;
}

/** Joins a machine to the bridge. */
async function plug(host: Host, port: string, addresses: readonly { v4: string; v6: string }[]): Promise<void> {
  await batch([
    `link add ${port} type veth peer name eth0 netns ${host.name}`,
    `link set ${port} master br0 addrgenmode none`,
    `link set ${port} up`,
  ]);
  await batch([
    "link set lo up",
    "link set eth0 addrgenmode none",
    "link set eth0 up",
    linkLocal("eth0", addresses[0]!.v6.replace(/^.*::/, "")),
    ...addresses.flatMap(({ v4, v6 }) => [`address add ${v4}/16 dev eth0`, `address add ${v6}/64 dev eth0 nodad`]),
  ], host);
}

/**
 * What others have on a node, and what they do there: kube-proxy's chains, links, addresses, and how they come and go.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import type { Node } from "./node.ts";

/** A back end of iptables. */
export type Backend = "nft" | "legacy";

/** The chain by which the kubelet tells which back end it uses. */
export async function addKubelet(node: Node, backend: Backend): Promise<void> {
  const script = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
  for (const family of ["iptables", "ip6tables"]) await node.run([`${family}-${backend}-restore`, "--noflush"], script);
}

/** kube-proxy's rules for some services, two chains and four rules each, in the table `nat`. */
export async function addServices(node: Node, backend: Backend, count: number): Promise<void> {
  await node.run([`iptables-${backend}-restore`, "--noflush"], savedServices(count));
}

/** Foreign rules of nft, ten in each chain, made in one transaction. */
export async function addRules(node: Node, count: number, table = "nat"): Promise<void> {
  const rules = Array.from({ length: Math.ceil(count / 10) }, (_, i) =>
    [
      `add chain ip ${table} KUBE-FW-${i}`,
      ...Array.from(
        { length: Math.min(10, count - 10 * i) },
        (_, j) => `add rule ip ${table} KUBE-FW-${i} ip daddr ${ip(i)} tcp dport ${j + 1} counter accept`,
      ),
    ].join("\n"));
  await node.run(["nft", "-f", "-"], `add table ip ${table}\n${rules.join("\n")}\n`);
}

/** What iptables-save would have printed with some services, before rules of ours were there. */
export function savedServices(count: number): string {
  const services = Array.from({ length: count }, (_, i) => i);
  return [
    "*nat",
    ":KUBE-SERVICES - [0:0]",
    ...services.flatMap((i) => [`:KUBE-SVC-${i} - [0:0]`, `:KUBE-SEP-${i} - [0:0]`]),
    ...services.flatMap((i) => {
      const comment = `-m comment --comment "default/service-${i}:http"`;
      return [
        `-A KUBE-SERVICES -d ${ip(i)}/32 -p tcp ${comment} -m tcp --dport 80 -j KUBE-SVC-${i}`,
        `-A KUBE-SVC-${i} ${comment} -j KUBE-SEP-${i}`,
        `-A KUBE-SEP-${i} -s ${ip(i)}/32 ${comment} -j MARK --set-xmark 0x4000/0x4000`,
        `-A KUBE-SEP-${i} -p tcp ${comment} -m tcp -j DNAT --to-destination ${ip(i)}:8080`,
      ];
    }),
    "COMMIT",
    "",
  ].join("\n");
}

/** Links of pods, with addresses on the first of them, as on a node with IPVS. */
export async function addLinks(node: Node, links: number, addresses: number): Promise<void> {
  const lines = [
    ...Array.from({ length: links }, (_, i) => `link add pod${i} type bridge`),
    ...Array.from({ length: addresses }, (_, i) => `address add ${ip(i)}/32 dev pod0`),
  ];
  await node.run(["ip", "-batch", "-"], lines.map((line) => `${line}\n`).join(""));
}

/** Pods that come, with a veth pair, an address and two rules each, and go again. */
export async function passPods(node: Node, count: number): Promise<void> {
  const pods = Array.from({ length: count }, (_, i) => i);
  const batch = (lines: readonly string[]) => node.run(["ip", "-batch", "-"], lines.map((it) => `${it}\n`).join(""));
  const rules = (what: "add" | "delete") =>
    node.run(["nft", "-f", "-"], pods.map((i) => `${what} chain ip nat CNI-${i}\n`).join(""));
  await node.run(["nft", "add", "table", "ip", "nat"]);
  await rules("add");
  for (const i of pods) {
    await batch([
      `link add veth${i} type veth peer name peer${i}`,
      `link set veth${i} up`,
      `link set peer${i} up`,
      `address add ${ip(i)}/32 dev veth${i}`,
    ]);
  }
  await batch(pods.map((i) => `link delete veth${i}`));
  await rules("delete");
}

/** Rewrites foreign rules of the table `nat` every some milliseconds, as kube-proxy does in its full syncs. */
export async function rewriteRules(node: Node, count: number, every: number, signal: AbortSignal): Promise<void> {
  for (let port = 1; !signal.aborted; port++) {
    const next = delay(every, { signal }).catch(() => {}); // it is over
    const script = Array.from({ length: count / 10 }, (_, i) =>
      [
        `flush chain ip nat KUBE-FW-${i}`,
        ...Array.from(
          { length: 10 },
          (_, j) => `add rule ip nat KUBE-FW-${i} ip daddr ${ip(i)} tcp dport ${port + 1000 * j} counter accept`,
        ),
      ].join("\n"));
    await node.run(["nft", "-f", "-"], `${script.join("\n")}\n`);
    await next;
  }
}

/** Adds a foreign rule every 0.1 s, in a process of its own, until it is disposed of. */
export class Churn implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  constructor(node: Node) {
    const script = `nft add chain ip nat CHURN || exit
      while read -r -t 0.1; [ $? -gt 128 ]; do iptables-nft -t nat -A CHURN -s 192.0.2.1/32 -j RETURN || exit; done; exit 0`;
    this.#child = node.spawn(["bash", "-c", script], { stdin: "piped" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close().catch(() => {}); // it has ended, and its exit code tells so
    const { code } = await this.#child.status;
    if (code !== 0) throw new Error(`No foreign rules were added: exit code ${code}`);
  }
}

function ip(i: number): string {
  return `10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
}

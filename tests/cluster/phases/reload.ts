import { assertEquals } from "@std/assert";
import type { ClusterNode } from "../cluster.ts";
import { FAMILIES, firewall } from "../firewall.ts";
import { assertAnswered, type Context, dump, type Phase, tallyText, whole } from "./phase.ts";

/** How an operator, or a package, loads the firewall of a node anew. */
interface Reload {
  readonly title: string;
  /** Whether requests may be slow: rules were away, and the kernel sends a lost packet again after a second. */
  readonly gap: boolean;
  load(node: ClusterNode): Promise<void>;
}

const RELOADS: readonly Reload[] = [
  {
    title: "iptables-restore of what iptables-save said now",
    gap: false,
    async load({ host }) {
      for (const { iptables } of FAMILIES) {
        await host.ok([`${iptables}-restore`], { stdin: await host.ok([`${iptables}-save`]) });
      }
    },
  },
  {
    title: "iptables-restore of what the node started with",
    gap: true,
    async load({ host }) {
      for (const family of FAMILIES) await host.ok([`${family.iptables}-restore`], { stdin: firewall(family) });
    },
  },
  {
    title: "nft flush ruleset, then nft -f of what the node started with",
    gap: true,
    async load({ host, ruleset }) {
      await host.ok(["nft", "flush", "ruleset"]);
      await host.ok(["nft", "-f", "-"], { stdin: ruleset });
    },
  },
  {
    title: "the same in one transaction",
    gap: true,
    async load({ host, ruleset }) {
      await host.ok(["nft", "-f", "-"], { stdin: `flush ruleset\n${ruleset}` });
    },
  },
];

/** The firewall is loaded anew: no request fails, and nothing of the node's own is lost. */
export const reload: Phase = {
  title: "The node's firewall is reloaded",
  async run({ cluster, say }: Context) {
    for (const { title, gap, load } of RELOADS) {
      await cluster.report();
      for (const node of cluster.nodes) {
        const before = await dump(node.host);
        await load(node);
        await whole(node);
        assertEquals((await dump(node.host)).toSorted(), before.toSorted(), title);
      }
      const tally = await cluster.report();
      say(`${title}: ${tallyText(tally)}`);
      assertAnswered(tally, { lost: gap });
    }
  },
};

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { ADDRESSES, APISERVER_PORT } from "../topology.ts";
import { assertAnswered, type Phase, tallyText } from "./phase.ts";
import { until } from "../until.ts";

const QUIET_MS = 5000;

/** Nothing happens, and no request fails. */
export const quiet: Phase = {
  title: "Nothing happens",
  async run({ cluster, say }) {
    await cluster.report();
    await delay(QUIET_MS);
    const tally = await cluster.report();
    say(tallyText(tally));
    assertAnswered(tally);
  },
};

/** The program is replaced on one node after the other, and no request fails. */
export const upgrade: Phase = {
  title: "Rolling upgrade of the program: SIGTERM, an init run, a new daemon, node by node",
  async run({ cluster, say }) {
    await cluster.report();
    for (const { sidecar } of cluster.nodes) await sidecar.upgrade();
    const tally = await cluster.report();
    say(tallyText(tally));
    assertAnswered(tally);
  },
};

/** The proxy is replaced on one node after the other, and only connections to the one that ends may fail. */
export const replaceProxy: Phase = {
  title: "The proxy is replaced, node by node",
  async run({ cluster, say }) {
    for (const { place, proxy } of cluster.nodes) {
      await cluster.report();
      await proxy.handOver();
      const end = Date.now();
      const tally = await cluster.report();
      say(`${place.name}, the new one takes over, then the old one ends: ${tallyText(tally)}`);
      assertAnswered(tally, { failed: true, lost: true, broken: true });
      assertOnlyOf(place.name, end, [...tally.failed, ...tally.broken]);
    }
    for (const { place, proxy } of cluster.nodes) {
      await cluster.report();
      const started = performance.now();
      await proxy.stop();
      const end = Date.now();
      await proxy.start();
      const took = performance.now() - started;
      const tally = await cluster.report();
      say(
        `${place.name}, the old one ends, then the new one starts within ${Math.round(took)} ms: ${tallyText(tally)}`,
      );
      assertAnswered(tally, { failed: true, lost: true, waited: true, broken: true });
      assertOnlyOf(place.name, end, [...tally.failed, ...tally.broken]);
      for (const { who, ms } of tally.waited) {
        assert(who.startsWith(place.name), `${who} waited for the proxy of ${place.name}`);
        // The client's own pauses between its tries, and a machine that does a lot else.
        assert(ms < took + SLACK_MS, `${who} waited ${ms} ms for a listener that was away for ${took} ms`);
      }
    }
  },
};

const SLACK_MS = 500;

function assertOnlyOf(node: string, end: number, troubles: readonly { who: string; at: number; what: string }[]): void {
  for (const { who, at, what } of troubles) {
    assert(who === node || who.startsWith(`${node}-`), `${who}, far from the proxy that ended: ${what}`);
    assert(at <= end, `A connection that ${who} began after the end of the old proxy failed: ${what}`);
  }
}

/** The kernel knows of no connection to the address, but of others. */
export const untracked: Phase = {
  title: "conntrack",
  async run({ cluster, say }) {
    for (const { host } of cluster.nodes) {
      // What was tracked while NOTRACK was lost has to run out.
      await until(async () => {
        const listings = await Promise.all(
          ["ipv4", "ipv6"].map((family) => host.ok(["conntrack", "-L", "-f", family, "-p", "tcp"])),
        );
        const entries = listings.join("").split("\n");
        const of = (text: string) => entries.filter((line) => line.includes(text));
        assert(of(`dport=${APISERVER_PORT} `).length > 0, "conntrack sees nothing at all");
        assertEquals(Object.values(ADDRESSES).flatMap((ip) => [...of(`src=${ip} `), ...of(`dst=${ip} `)]), []);
      });
    }
    const tally = await cluster.report();
    say(`no entry for the address on any node, but for the proxies' own connections; ${tallyText(tally)}`);
    assertAnswered(tally);
  },
};

/**
 * What goes on on a busy node: rulesets of thousands of chains that are reloaded and changed all the time, and storms of
 * events. What is lost in the midst of it has to be back as soon as elsewhere.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { type Harm, ip, lose, loseAddress, loseRule } from "./deeds.ts";
import { CHAINS, FAMILIES, type Family, OTHER_LINK, savedRules, TABLES } from "./foreign.ts";
import { send } from "./processes.ts";
import type { World } from "./world.ts";

/** Chains of others, with a rule each: a cluster of some, of a thousand, of several thousand services. */
const CROWDS = { nft: [1000, 5000, 20_000], legacy: [500, 2000] } as const;
/** So many of them are made at once. */
const STEP = 500;
/** A netlink socket overruns after so many crowds have come and gone, at the latest: root's holds 32 MiB. */
const MAX_ROUNDS = 100;
/** Pause between two changes of a foreign rule. */
const CHURN_MS = 100;
/** So many links come and go at once. */
const LINKS = [20, 150] as const;

/** Busy times. */
export const BUSTLE: readonly Harm[] = [
  {
    name: "reload of rules that were saved before",
    async strike(world, random) {
      const [family, count] = [random.pick(FAMILIES), random.pick(CROWDS[world.options.backend])];
      const regain = await rulesOf(world);
      await crowd(world, family, count);
      try {
        await world.namespace.ok([`${world.iptables(family)}-restore`, "--wait"], { stdin: savedRules(family) });
        world.struck();
        await regain();
      } finally {
        await disperse(world, family, count);
      }
      return `family ${family}, ${count} chains`;
    },
  },
  {
    name: "churn of rules",
    async strike(world, random) {
      const [family, count] = [random.pick(FAMILIES), random.pick(CROWDS[world.options.backend])];
      const regain = await rulesOf(world);
      await crowd(world, family, count);
      // One that starts now has to take part in all of it.
      const isNew = random.below(2) === 0;
      for (const { pid, name } of await world.children()) if (isNew && name === "nft") send(pid, "SIGKILL");
      const over = new AbortController();
      const churning = churn(world, family, over.signal);
      try {
        for (let i = 0; i < 3; i++) {
          await delay(random.between(0, 1000));
          await loseRule(world, random);
          await regain();
        }
      } finally {
        over.abort();
        await churning;
        await disperse(world, family, count);
      }
      return `family ${family}, ${count} chains, ${isNew ? "new" : "old"} monitors`;
    },
  },
  {
    name: "monitor of rules that loses events",
    suits: ({ backend }) => backend === "nft",
    async strike(world, random) {
      const family = random.pick(FAMILIES);
      const monitors = (await world.children()).filter(({ name }) => name === "nft");
      for (const { pid } of monitors) send(pid, "SIGSTOP");
      try {
        const before = await drops(world);
        for (let i = 0; monitors.length > 0 && await drops(world) === before; i++) {
          if (i > MAX_ROUNDS) throw new Error("Cannot do this harm: the socket of the monitor does not overrun");
          await crowd(world, family, 2 * STEP);
          await disperse(world, family, 2 * STEP);
        }
        // A socket that has overrun takes nothing more until it is read.
        return await loseRule(world, random);
      } finally {
        for (const { pid } of monitors) send(pid, "SIGCONT");
        world.struck();
      }
    },
  },
  {
    name: "storm of links",
    async strike(world, random) {
      const names = Array.from({ length: random.between(...LINKS) }, (_, i) => `pod${i}`);
      const when = random.below(names.length);
      // In a group of their own they can be removed in one step.
      const lines = names.flatMap((name) => [`link add ${name} group 99 type bridge`, `link set ${name} up`]);
      await ip(world, lines.slice(0, 2 * when));
      const lost = await lose(world, random);
      await ip(world, [...lines.slice(2 * when), "link delete group 99"]);
      return `${names.length} links; ${lost}`;
    },
  },
  {
    name: "churn of addresses",
    async strike(world, random) {
      const over = new AbortController();
      const churning = churnAddresses(world, over.signal);
      try {
        for (let i = 0; i < 3; i++) {
          await delay(random.between(0, 300));
          await loseAddress(world, random);
          await world.regain();
        }
      } finally {
        over.abort();
        await churning;
      }
      return "";
    },
  },
];

/** How many messages the netfilter sockets of the namespace have lost. */
async function drops(world: World): Promise<number> {
  const lines = (await world.namespace.ok(["cat", "/proc/net/netlink"])).split("\n").map((line) => line.split(/\s+/));
  return lines.filter(([, protocol]) => protocol === "12").reduce((sum, fields) => sum + Number(fields[8]), 0);
}

/** What waits for the rules to be as they are now, chain by chain: iptables-nft-save takes a second or more in a crowd. */
async function rulesOf(world: World): Promise<() => Promise<void>> {
  if (world.options.backend === "legacy") return () => world.regain();
  const lines = FAMILIES.flatMap((family) =>
    TABLES.flatMap((table) => CHAINS[table].map((chain) => `${world.iptables(family)} -t ${table} -S ${chain}`))
  );
  const look = async () => (await world.namespace.run(["sh", "-c", lines.join("\n")])).stdout.split("\n").toSorted();
  const wanted = await look();
  return () => world.until(look, wanted);
}

/** Makes many chains with a rule each, in steps that the socket buffer of a plain user has room for. */
async function crowd(world: World, family: Family, count: number): Promise<void> {
  await inSteps(count, async (names) => {
    const lines = [...names.map((name) => `:${name} - [0:0]`), ...names.map((name) => `-A ${name} -j RETURN`)];
    await change(world, family, "nat", lines);
  });
}

/** Removes them. */
async function disperse(world: World, family: Family, count: number): Promise<void> {
  if (world.options.backend === "nft") {
    await world.namespace.ok(["nft", "delete", "table", family === 4 ? "ip" : "ip6", "nat"]);
  } else {
    await inSteps(count, async (names) => {
      await change(world, family, "nat", [...names.map((name) => `-F ${name}`), ...names.map((name) => `-X ${name}`)]);
    });
  }
  world.struck();
}

async function inSteps(count: number, step: (names: readonly string[]) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += STEP) {
    const length = Math.min(STEP, count - from);
    await step(Array.from({ length }, (_, i) => `KUBE-SVC-${from + i}`));
  }
}

/** Changes foreign rules in one transaction. */
async function change(world: World, family: Family, table: string, lines: readonly string[]): Promise<void> {
  await world.namespace.ok([`${world.iptables(family)}-restore`, "--noflush", "--wait"], {
    stdin: [`*${table}`, ...lines, "COMMIT\n"].join("\n"),
  });
}

/** Changes a foreign rule again and again. */
async function churn(world: World, family: Family, over: AbortSignal): Promise<void> {
  await change(world, family, "filter", [":CHURN - [0:0]"]);
  for (let i = 0; !over.aborted; i++) {
    await change(world, family, "filter", [`-${i % 2 === 0 ? "A" : "D"} CHURN -p udp -m udp --dport 9 -j DROP`]);
    await delay(CHURN_MS);
  }
  await change(world, family, "filter", ["-F CHURN", "-X CHURN"]);
}

async function churnAddresses(world: World, over: AbortSignal): Promise<void> {
  const all = Array.from({ length: 50 }, (_, i) => `10.97.1.${i}/32 dev ${OTHER_LINK}`);
  while (!over.aborted) {
    const stdin = all.flatMap((it) => [`address add ${it}`, `address del ${it}`]).join("\n");
    await world.namespace.ok(["ip", "-batch", "-"], { stdin: `${stdin}\n` });
    await delay(CHURN_MS / 10);
  }
}

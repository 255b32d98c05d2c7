/**
 * What may happen to the program, its children and its tools while something is lost.
 *
 * @module
 */
import { AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";

import { anyChild, beMoody, type Harm, lose, loseAddress, loseRule, onMachine } from "./deeds.ts";
import { find, type ProcessId, send } from "./processes.ts";
import type { World, WorldOptions } from "./world.ts";

const atIntervals = ({ eventsOnly }: WorldOptions) => !eventsOnly;
/** `ip` is a pipe of three processes there. */
const plain = ({ eventsOnly, link }: WorldOptions) => !eventsOnly && link !== "own";

/** So long a tool is a script whose child hangs: the program has given up several by then. */
const WRAPPED_MS = 7000;
/** A look and a monitor may each leave one, which must not become many. */
const MAX_LEFT = 2;

/** The children of scripts that hang. */
async function hangingChildren(world: World): Promise<readonly ProcessId[]> {
  const pids = (await world.namespace.run(["cat", "/run/wrapped"])).stdout.split("\n").filter(Boolean).map(Number);
  return (await Promise.all(pids.map(find))).filter((found) => found?.name === "sleep") as ProcessId[];
}

/** Those whose script is gone. */
async function leftChildren(world: World): Promise<readonly ProcessId[]> {
  const kept = new Set((await world.children()).map(({ pid }) => pid));
  return (await hangingChildren(world)).filter(({ pid }) => !kept.has(pid));
}

/** Harm that stands in the way of repair. */
export const HINDRANCES: readonly Harm[] = [
  {
    name: "xtables lock held",
    suits: ({ backend }) => backend === "legacy",
    slack: 1500,
    async strike(world, random) {
      const seconds = (random.between(200, 1500) / 1000).toFixed(1);
      const lost = await loseRule(world, random);
      await world.namespace.ok(["flock", "/run/xtables.lock", "sleep", seconds]);
      world.struck();
      return `${seconds} s; ${lost}`;
    },
  },
  {
    name: "child killed",
    suits: plain,
    async strike(world, random) {
      const victim = await anyChild(world, random);
      if (victim !== undefined) send(victim.pid, "SIGKILL");
      return `${victim?.name}; ${await lose(world, random)}`;
    },
  },
  {
    name: "child stopped",
    suits: plain,
    // It is given some time, then asked to end, then made to.
    slack: 2000,
    async strike(world, random) {
      const victim = await anyChild(world, random);
      if (victim !== undefined) send(victim.pid, "SIGSTOP");
      return `${victim?.name}; ${await lose(world, random)}`;
    },
  },
  {
    name: "program stopped for a moment",
    async strike(world, random) {
      const pause = random.between(20, 400);
      send(world.program.pid, "SIGSTOP");
      const lost = await lose(world, random);
      await delay(pause);
      send(world.program.pid, "SIGCONT");
      world.struck();
      return `${pause} ms; ${lost}`;
    },
  },
  {
    name: "SIGHUP storm",
    async strike(world, random) {
      const count = random.between(20, 200);
      for (let i = 0; i < count; i++) send(world.program.pid, "SIGHUP");
      return `${count}; ${await lose(world, random)}`;
    },
  },
  ...(["fail", "hang", "garbage"] as const).map((mood): Harm => ({
    name: `iptables-restore: ${mood}`,
    suits: atIntervals,
    slack: mood === "hang" ? 3000 : 0,
    strike: (world, random) => beMoody(world, random, ["iptables", "ip6tables"], mood, () => loseRule(world, random)),
  })),
  ...(["fail", "hang", "garbage"] as const).map((mood): Harm => ({
    name: `ip: ${mood}`,
    suits: plain,
    slack: mood === "hang" ? 3000 : 0,
    async strike(world, random) {
      // It is started again only if it has ended.
      const victims = (await world.children()).filter(({ name }) => name === "ip");
      return await beMoody(world, random, ["ip"], mood, async () => {
        for (const { pid } of victims) send(pid, "SIGKILL");
        return await loseAddress(world, random);
      });
    },
  })),
  ...["iptables", "ip6tables", "ip"].map((program): Harm => ({
    name: `${program === "ip" ? program : `${program}-restore`}: a script whose child hangs`,
    suits: plain,
    slack: 3000,
    async strike(world, random) {
      const victims = (await world.children()).filter(({ name }) => program === "ip" && name === "ip");
      let left: readonly ProcessId[] = [];
      const lost = await beMoody(world, random, [program], "wrapper", async () => {
        for (const { pid } of victims) send(pid, "SIGKILL");
        const lost = program === "ip" ? await loseAddress(world, random) : await loseRule(world, random);
        await delay(WRAPPED_MS);
        left = await leftChildren(world);
        return lost;
      });
      // Of the last one the script may live, or has not even started its child.
      for (let round = 0; round < 3; round++) {
        for (const { pid } of await hangingChildren(world)) send(pid, "SIGKILL");
        await delay(100);
      }
      world.struck();
      if (left.length > MAX_LEFT) throw new AssertionError(`${left.length} children of scripts that are gone hang`);
      return lost;
    },
  })),
  {
    name: "log that nobody reads",
    async strike(world, random) {
      return await world.unheard(async () => {
        const lost: string[] = [];
        for (let i = 0; i < 4; i++) {
          lost.push(await lose(world, random));
          if (random.below(2) === 0) send(world.program.pid, "SIGHUP");
          await world.regain();
        }
        return lost.join(", ");
      });
    },
  },
  {
    name: "no process can be started",
    suits: atIntervals,
    async strike(world, random) {
      const [pause, spare] = [random.between(100, 900), random.between(0, 5)];
      const pid = world.program.pid;
      const open = [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
      const limits = (await onMachine(["prlimit", "--pid", `${pid}`, "--nofile", "--raw", "--noheadings"])).trim()
        .split(/\s+/);
      const [soft = "", hard = ""] = limits.filter((word) => /^(\d+|unlimited)$/.test(word));
      // The process table of a container is full: a pipe, or the process itself, cannot be made.
      await onMachine(["prlimit", "--pid", `${pid}`, `--nofile=${open + spare}:${hard}`]);
      const lost = await lose(world, random);
      await delay(pause);
      await onMachine(["prlimit", "--pid", `${pid}`, `--nofile=${soft}:${hard}`]);
      world.struck();
      return `${spare} files to spare, ${pause} ms; ${lost}`;
    },
  },
];

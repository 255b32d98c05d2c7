/**
 * Test equipment: what processes take, by /proc.
 *
 * @module
 */
import { descendants } from "../chaos/processes.ts";

/** What a process and all that it started take. */
export interface Resources {
  /** Seconds of CPU since its start, those of children that have ended included. */
  readonly cpu: number;
  /** MiB in RAM; what several share is counted for each. */
  readonly rss: number;
  /** MiB in RAM; what several share is divided among them. */
  readonly pss: number;
  /** MiB in RAM that are not from files. */
  readonly anonymous: number;
  readonly descriptors: number;
  readonly processes: number;
}

const TICKS_PER_SECOND = 100;

/** What a process takes now, with its children. */
export async function resourcesOf(root: number): Promise<Resources> {
  const all = await Promise.all([root, ...(await descendants(root)).map(({ pid }) => pid)].map(one));
  return all.filter((it) => it !== undefined).reduce((sum, it) => ({
    cpu: sum.cpu + it.cpu,
    rss: sum.rss + it.rss,
    pss: sum.pss + it.pss,
    anonymous: sum.anonymous + it.anonymous,
    descriptors: sum.descriptors + it.descriptors,
    processes: sum.processes + 1,
  }));
}

async function one(pid: number): Promise<Resources | undefined> {
  try {
    const [stat, rollup] = await Promise.all(["stat", "smaps_rollup"].map((name) => read(`/proc/${pid}/${name}`)));
    const fields = stat!.slice(stat!.lastIndexOf(")") + 2).split(" ").map(Number);
    const mib = (name: string) => Number(rollup!.match(new RegExp(`^${name}: +(\\d+) kB`, "m"))?.[1]) / 1024;
    return {
      // utime, stime, cutime, cstime
      cpu: fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_SECOND,
      rss: mib("Rss"),
      pss: mib("Pss"),
      anonymous: mib("Anonymous"),
      descriptors: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
      processes: 1,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined; // it has ended
    throw error;
  }
}

function read(path: string): Promise<string> {
  return Deno.readTextFile(path);
}

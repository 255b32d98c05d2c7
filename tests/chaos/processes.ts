/**
 * Test equipment: what /proc says of processes.
 *
 * @module
 */

/** A process, told apart from a later one with the same number by its start. */
export interface ProcessId {
  readonly pid: number;
  readonly started: string;
  readonly name: string;
}

/** All that a process started, directly or not, and that has not ended; zombies are left out. */
export async function descendants(root: number): Promise<readonly ProcessId[]> {
  const children = new Map<number, ProcessId[]>();
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const found = await read(Number(name));
    if (found !== undefined) children.set(found.parent, [...children.get(found.parent) ?? [], found.process]);
  }
  const below = (pid: number): ProcessId[] =>
    (children.get(pid) ?? []).flatMap((process) => [process, ...below(process.pid)]);
  return below(root);
}

/** Those of some processes that still run. */
export async function running(processes: readonly ProcessId[]): Promise<readonly ProcessId[]> {
  const now = await Promise.all(processes.map(({ pid }) => read(pid)));
  return processes.filter(({ started }, i) => now[i]?.process.started === started);
}

/** The process that has a number now; undefined if none has, or a zombie. */
export async function find(pid: number): Promise<ProcessId | undefined> {
  return (await read(pid))?.process;
}

/** Sends a signal to a process that may be gone. */
export function send(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The memory of a process in MiB: all that is in RAM, and what of it is not from files. */
export async function memory(pid: number): Promise<{ readonly rss: number; readonly anonymous: number }> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const field = (name: string) => Number(status.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))?.[1]) / 1024;
  return { rss: field("VmRSS"), anonymous: field("RssAnon") };
}

async function read(pid: number): Promise<{ readonly process: ProcessId; readonly parent: number } | undefined> {
  let stat: string;
  try {
    stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  } catch {
    return undefined; // it has ended
  }
  const [, name = "", rest = ""] = stat.match(/^\d+ \((.*)\) (.*)/s) ?? [];
  const fields = rest.split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  return { process: { pid, started: fields[19]!, name }, parent: Number(fields[1]) };
}

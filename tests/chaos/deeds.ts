/**
 * The deeds that harm is made of.
 *
 * @module
 */
import { assert } from "@std/assert";
import { delay } from "@std/async/delay";
import { ruleLines } from "../support/program.ts";
import { FAMILIES, type Family, OURS, TABLES } from "./foreign.ts";
import type { Random } from "../support/random.ts";
import type { World, WorldOptions } from "./world.ts";

/** One kind of harm. */
export interface Harm {
  readonly name: string;
  /** Whether it can be done to such a world, and be noticed there. @default always */
  readonly suits?: (options: WorldOptions) => boolean;
  /** Milliseconds that its repair may take longer than others. @default {0} */
  readonly slack?: number;
  /** Does it, and says what in a few words. Nothing random may depend on time. */
  readonly strike: (world: World, random: Random) => Promise<string>;
}

/** Of the family 6, `lo` keeps the one that only the kernel can put there. */
export const FLUSH: readonly string[] = ["address flush dev LINK to 0.0.0.0/0", "address flush dev LINK to fd00::/8"];

/** The address of a family as it has to stand. */
export function cidr(family: Family): string {
  return `${OURS[family]}/${family === 4 ? 32 : 128}`;
}

/** Runs lines of `ip -batch`, in which LINK is the link of the program's addresses. What is gone already may be gone. */
export async function ip(world: World, lines: readonly string[]): Promise<void> {
  const stdin = `${lines.join("\n").replaceAll("LINK", world.link)}\n`;
  await world.namespace.run(["ip", "-force", "-batch", "-"], { stdin });
  world.struck();
}

/** Runs an iptables command. A rule that is gone already may be gone. */
export async function iptables(world: World, family: Family, ...args: string[]): Promise<void> {
  await world.namespace.run([world.iptables(family), "--wait", ...args]);
  world.struck();
}

/** Feeds iptables-restore. */
export async function restore(world: World, family: Family, stdin: string): Promise<void> {
  await world.namespace.ok([`${world.iptables(family)}-restore`, "--noflush", "--wait"], { stdin });
  world.struck();
}

/** Runs a program outside of the namespace. */
export async function onMachine([program, ...args]: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program!, { args }).output();
  if (!success) throw new Error(`Cannot run "${program} ${args.join(" ")}": ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** One of the rules of a family. */
export function anyRule(
  random: Random,
  family: Family,
): { readonly table: string; readonly chain: string; readonly spec: string } {
  const [table = "", , chain = "", ...spec] = random.pick(ruleLines(OURS[family])).split(" ");
  return { table, chain, spec: spec.join(" ") };
}

/** Deletes an address. */
export async function loseAddress(world: World, random: Random): Promise<string> {
  const family = random.pick(FAMILIES);
  await ip(world, [`address del ${cidr(family)} dev LINK`]);
  return OURS[family];
}

/** Deletes a rule. */
export async function loseRule(world: World, random: Random): Promise<string> {
  const family = random.pick(FAMILIES);
  const { table, chain, spec } = anyRule(random, family);
  await iptables(world, family, "-t", table, "-D", chain, ...spec.split(" "));
  return `${table} ${chain} ${spec}`;
}

/** Deletes something. */
export function lose(world: World, random: Random): Promise<string> {
  return random.below(2) === 0 ? loseAddress(world, random) : loseRule(world, random);
}

/** One of the processes that the program has started; undefined if there is none. */
export async function anyChild(
  world: World,
  random: Random,
): Promise<{ readonly pid: number; readonly name: string } | undefined> {
  const number = random.below(1000);
  const children = (await world.children()).toSorted((a, b) => a.pid - b.pid);
  return children[number % Math.max(1, children.length)];
}

/** Has some tools in a mood for a while, in which something is lost. */
export async function beMoody(
  world: World,
  random: Random,
  programs: readonly string[],
  mood: string,
  harm: () => Promise<string>,
): Promise<string> {
  const [program, pause] = [random.pick(programs), random.between(100, 1200)];
  const { backend } = world.options;
  const files = (program === "ip" ? ["ip"] : [`${program}-restore`, `${program}-${backend}-restore`])
    .map((name) => `/run/mood-${name}`);
  await world.namespace.ok(["tee", ...files], { stdin: mood });
  const lost = await harm();
  await delay(pause);
  await world.namespace.ok(["rm", ...files]);
  world.struck();
  return `${program} for ${pause} ms; ${lost}`;
}

/** What nft calls a family of iptables. */
export function nftFamily(family: Family): string {
  return family === 4 ? "ip" : "ip6";
}

/** The rules that name one of ours as nft lists them, which can read what iptables cannot, and is fast with any ruleset. */
export async function listed(world: World): Promise<readonly string[]> {
  // One process for all would give up at the first table that is not there.
  const lists = FAMILIES.flatMap((family) => TABLES.map((table) => `nft -s list table ${nftFamily(family)} ${table}`));
  const { stdout } = await world.namespace.run(["sh", "-c", lists.join("\n")]);
  let where = "";
  const found: string[] = [];
  for (const line of stdout.split("\n").map((line) => line.trim())) {
    if (/^(table|chain) /.test(line)) where = line.startsWith("table") ? line : `${where.split(",")[0]}, ${line}`;
    else if (/ [sd]addr (10\.96\.0\.2|fd00:96::2) /.test(line)) found.push(`${where} ${line}`);
  }
  assert(found.length > 0, `Cannot see any rule through nft:\n${stdout}`);
  return found.toSorted();
}

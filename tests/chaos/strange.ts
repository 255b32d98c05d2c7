/**
 * What others may have on a node though one does not expect it: rules that iptables cannot list, texts of any bytes, addresses
 * that are there and cannot be used.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";
import { anyRule, cidr, type Harm, ip, iptables, listed, lose, nftFamily } from "./deeds.ts";
import { CHAINS, FAMILIES, type Family, FOREIGN_LINK, OTHER_LINK, OURS, TABLES } from "./foreign.ts";
import { send } from "./processes.ts";
import type { Random } from "../support/random.ts";
import type { World, WorldOptions } from "./world.ts";

/** How a rule looks that iptables-nft cannot print, and with it none of its chain. */
const NATIVE = `ct state vmap { established : accept, invalid : drop } comment "native"`;

/** Somewhere to write a text of one's own. */
interface Place {
  readonly name: string;
  /** Longest text, in bytes. */
  readonly length: number;
  /** Bytes that are refused there; 0 is everywhere. */
  readonly refused?: RegExp;
  /** Lines of shell in which $text is the text, and $link a link of somebody else's or `lo`. */
  readonly put: string;
  readonly take: string;
}

/** The kernel calls these white space, the last one of Latin-1 included. */
const SPACE = /[\t-\r \xa0]/;

const ON_LINKS: readonly Place[] = [
  { name: "alias", length: 250, put: 'ip link set $link alias "$text"', take: 'ip link set $link alias ""' },
  {
    name: "alternative name",
    length: 120,
    refused: /[\t-\r \xa0/:]/,
    put: 'ip link property add dev $link altname "a$text"',
    take: 'ip link property del dev $link altname "a$text"',
  },
  {
    name: "label",
    length: 11,
    put: 'ip address add 10.97.0.1/32 dev $link label "$link:$text"',
    take: "ip address del 10.97.0.1/32 dev $link",
  },
];

const IN_RULES: readonly Place[] = [
  {
    name: "comment",
    length: 250,
    put: '$iptables -A $chain -p udp -m comment --comment "$text" -j ACCEPT',
    take: '$iptables -D $chain -p udp -m comment --comment "$text" -j ACCEPT',
  },
  {
    name: "chain",
    length: 20,
    refused: SPACE,
    put: '$iptables -N "a$text" && $iptables -I $chain -p udp -g "a$text"',
    take: '$iptables -D $chain -p udp -g "a$text" && $iptables -X "a$text"',
  },
];

/** Strange things. */
export const STRANGE: readonly Harm[] = [
  {
    name: "chain that iptables cannot list",
    suits: ({ backend }) => backend === "nft",
    async strike(world, random) {
      const [family, table] = [random.pick(FAMILIES), random.pick(TABLES)];
      const chain = random.pick(CHAINS[table]);
      const native = `${nftFamily(family)} ${table} ${chain}`;
      const wanted = await listed(world);
      await nft(world, `add rule ${native} ${NATIVE}`);
      try {
        const { code } = await world.namespace.run([world.iptables(family), "-t", table, "-S", chain]);
        if (code === 0) throw new Error(`Cannot do this harm: iptables lists ${native} all the same`);
        for (let i = 0; i < 3; i++) {
          await deleteOne(world, random, family, table, i === 0 ? chain : random.pick(CHAINS[table]));
          await world.until(() => listed(world), wanted);
        }
        for (let i = 0; i < 3; i++) send(world.program.pid, "SIGHUP");
        await delay(random.between(100, 500));
        assertEquals(await listed(world), wanted, "After passes in which nothing was missing");
      } finally {
        await nft(world, `delete rule ${native} handle ${await handle(world, native, /comment "native"/)}`);
      }
      return native;
    },
  },
  ...[...ON_LINKS, ...IN_RULES].map((place): Harm => ({
    name: `${place.name} of random bytes`,
    async strike(world, random) {
      const text = randomBytes(random, place);
      const lines = ON_LINKS.includes(place)
        ? `link=${random.pick([FOREIGN_LINK, OTHER_LINK, "lo"])}`
        : someChain(world, random);
      await written(world, place, `${lines} text=$(printf '${octal(text)}')`, async () => {
        for (let i = 0; i < 2; i++) {
          await lose(world, random);
          await world.regain();
        }
      });
      return JSON.stringify(String.fromCharCode(...text));
    },
  })),
  {
    name: "comment that looks like a rule",
    async strike(world, random) {
      const family = random.pick(FAMILIES);
      const { table, chain, spec } = anyRule(random, family);
      const fake = random.pick([
        `-A ${chain} ${spec}`,
        `-P ${chain} ACCEPT`,
        "# end of listing",
        "COMMIT",
        `*${table}`,
      ]);
      const place = { ...IN_RULES[0]!, put: IN_RULES[0]!.put.replace("-A", random.pick(["-A", "-I"])) };
      const lines = `iptables='${world.iptables(family)} --wait -t ${table}' chain=${chain} text='x\n${fake}\ny'`;
      const rule = ["-t", table, "-C", chain, ...spec.split(" ")];
      await written(world, place, lines, async () => {
        await iptables(world, family, "-t", table, "-D", chain, ...spec.split(" "));
        const look = async () => [`${(await world.namespace.run([world.iptables(family), "--wait", ...rule])).code}`];
        await world.until(look, ["0"]);
      });
      return `${family} ${fake}`;
    },
  },
  {
    name: "address that stays tentative",
    // Where there is no carrier, nobody ever finds out whether it is somebody else's, and no proxy can use it meanwhile.
    suits: ({ link }) => link !== "lo",
    async strike(world) {
      await ip(world, [`address del ${cidr(6)} dev LINK`, `address add ${cidr(6)} dev LINK`]);
      return OURS[6];
    },
  },
  {
    name: "address that is deprecated",
    async strike(world, random) {
      const family = random.pick(FAMILIES);
      await ip(world, [`address change ${cidr(family)} dev LINK preferred_lft 0 valid_lft forever`]);
      return OURS[family];
    },
  },
  {
    name: "the node's own address",
    suits: isOfOthers,
    async strike(world, random) {
      const family = random.pick(FAMILIES);
      const own = `${OURS[family]}/${family === 4 ? random.between(20, 31) : random.between(64, 127)}`;
      const look = `address show dev ${world.link}`;
      const lines = [`address del ${cidr(family)} dev ${world.link}`, `address add ${own} dev ${world.link}`, look];
      const stdin = `${lines.join("\n")}\n`;
      const shown = (await world.namespace.run(["ip", "-force", "-batch", "-"], { stdin })).stdout;
      send(world.program.pid, "SIGHUP");
      await delay(random.between(200, 800));
      const { stdout } = await world.namespace.run(["ip", ...look.split(" ")]);
      await ip(world, [`address del ${own} dev LINK`]);
      // An IPv6 address that the program had put back by then stands in its way.
      if (shown.includes(` ${own} `) && !stdout.includes(` ${own} `)) throw new AssertionError(`${own} was removed`);
      return own;
    },
  },
];

/** Whether the link of the addresses is somebody else's. */
export function isOfOthers({ link }: WorldOptions): boolean {
  return link === "foreign" || link === "alternative";
}

/** Has a text stand somewhere during an action. */
async function written(world: World, place: Place, variables: string, action: () => Promise<void>): Promise<void> {
  const sh = (line: string) => world.namespace.ok(["sh", "-c", `${variables}\n${line}`]);
  await sh(place.put);
  world.struck();
  try {
    await action();
  } finally {
    await sh(place.take);
    world.struck();
  }
}

/** Shell variables that name one of the chains that the program has rules in. */
function someChain(world: World, random: Random): string {
  const table = random.pick(TABLES);
  const program = world.iptables(random.pick(FAMILIES));
  return `iptables='${program} --wait -t ${table}' chain=${random.pick(CHAINS[table])}`;
}

function randomBytes(random: Random, { length, refused }: Place): readonly number[] {
  const bytes = Array.from({ length: random.between(1, length) }, () => random.between(1, 255));
  return bytes.map((byte) => refused?.test(String.fromCharCode(byte)) ? 1 : byte);
}

/** Bytes as printf(1) takes them: no command line of this process could carry them. */
function octal(bytes: readonly number[]): string {
  return bytes.map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}

async function nft(world: World, line: string): Promise<void> {
  await world.namespace.ok(["nft", "-f", "-"], { stdin: `${line}\n` });
  world.struck();
}

/** The handle of the topmost rule of a chain that matches. */
async function handle(world: World, chain: string, pattern: RegExp): Promise<string> {
  const text = await world.namespace.ok(["nft", "--handle", "--stateless", "list", "chain", ...chain.split(" ")]);
  const line = text.split("\n").find((line) => pattern.test(line)) ?? "";
  const [, number] = line.match(/# handle (\d+)$/) ?? [];
  if (number === undefined) throw new AssertionError(`No rule matches ${pattern} in:\n${text}`);
  return number;
}

/** Deletes a rule of ours from a chain. */
async function deleteOne(world: World, random: Random, family: Family, table: string, chain: string): Promise<void> {
  const where = `${nftFamily(family)} ${table} ${chain}`;
  const verdict = table === "raw" ? "notrack" : "accept";
  const side = chain === "INPUT" || chain === "PREROUTING" || (table === "raw" && random.below(2) === 0)
    ? "daddr"
    : "saddr";
  const number = await handle(
    world,
    where,
    new RegExp(`${side} ${OURS[family]} tcp [sd]port 443 counter.* ${verdict}`),
  );
  await nft(world, `delete rule ${where} handle ${number}`);
}

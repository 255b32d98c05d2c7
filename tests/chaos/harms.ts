/**
 * What may happen to a node, as a table: each row does its harm, and says what it did.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { anyRule, cidr, FLUSH, type Harm, ip, iptables, loseAddress, loseRule, restore } from "./deeds.ts";
import {
  CHAINS,
  FAMILIES,
  FOREIGN_LINK,
  OTHER_LINK,
  OURS,
  putLinks,
  putNftTable,
  putRules,
  TABLES,
} from "./foreign.ts";
import { send } from "./processes.ts";
import { isOfOthers } from "./strange.ts";

/** Loss and change of what is kept. */
export const HARMS: readonly Harm[] = [
  { name: "address deleted", strike: loseAddress },
  {
    name: "address with another scope",
    async strike(world, random) {
      const scope = random.pick(world.options.link === "lo" ? ["global", "link"] : ["host", "link"]);
      await ip(world, [`address del ${cidr(4)} dev LINK`, `address add ${cidr(4)} dev LINK scope ${scope}`]);
      return scope;
    },
  },
  {
    name: "address with a broadcast address",
    async strike(world, random) {
      const broadcast = random.pick([OURS[4], "10.96.255.255"]);
      const scope = world.options.link === "lo" ? "host" : "global";
      await ip(world, [
        `address del ${cidr(4)} dev LINK`,
        `address add ${cidr(4)} broadcast ${broadcast} dev LINK scope ${scope}`,
      ]);
      return broadcast;
    },
  },
  {
    name: "address that expires",
    async strike(world, random) {
      const [family, seconds] = [random.pick(FAMILIES), random.between(60, 3000)];
      await ip(world, [`address change ${cidr(family)} dev LINK valid_lft ${seconds} preferred_lft ${seconds}`]);
      return `${OURS[family]} ${seconds} s`;
    },
  },
  {
    name: "address with another prefix",
    // On a link of somebody else's it is not the program's to change.
    suits: (options) => !isOfOthers(options),
    async strike(world, random) {
      const [family, instead] = [random.pick(FAMILIES), random.below(2) === 0];
      const length = family === 4 ? random.between(20, 31) : random.between(64, 127);
      const nodad = family === 6 ? " nodad" : "";
      await ip(world, [
        ...instead ? [`address del ${cidr(family)} dev LINK`] : [],
        `address add ${OURS[family]}/${length} dev LINK${nodad}`,
      ]);
      return `${OURS[family]}/${length}, ${instead ? "instead" : "too"}`;
    },
  },
  {
    name: "all addresses of the link flushed",
    async strike(world) {
      await ip(world, FLUSH);
      await putLinks(world.namespace);
      return "";
    },
  },
  { name: "rule deleted", strike: loseRule },
  {
    name: "copies of a rule",
    // The monitor tells of what goes, not of what comes: others add rules by the thousand.
    suits: ({ backend, eventsOnly }) => !eventsOnly || backend === "legacy",
    async strike(world, random) {
      const [family, copies] = [random.pick(FAMILIES), random.between(1, 4)];
      const { table, chain, spec } = anyRule(random, family);
      const command = random.pick(["-A", "-I"]);
      const lines = Array.from({ length: copies }, () => `${command} ${chain} ${spec}`);
      await restore(world, family, `*${table}\n${lines.join("\n")}\nCOMMIT\n`);
      return `${copies} of ${table} ${command} ${chain} ${spec}`;
    },
  },
  {
    name: "rules of a chain flushed",
    async strike(world, random) {
      const [family, table] = [random.pick(FAMILIES), random.pick(TABLES)];
      const chain = random.pick(CHAINS[table]);
      await iptables(world, family, "-t", table, "-F", chain);
      await putRules(world.namespace, world.options.backend, family, { tables: [table], chain });
      return `${family} ${table} ${chain}`;
    },
  },
  {
    name: "rules of a table flushed",
    async strike(world, random) {
      const [family, table] = [random.pick(FAMILIES), random.pick(TABLES)];
      await iptables(world, family, "-t", table, "-F");
      await putRules(world.namespace, world.options.backend, family, { tables: [table] });
      return `${family} ${table}`;
    },
  },
  {
    name: "table deleted",
    suits: ({ backend }) => backend === "nft",
    async strike(world, random) {
      const [family, table] = [random.pick(FAMILIES), random.pick(TABLES)];
      await world.namespace.ok(["nft", "delete", "table", family === 4 ? "ip" : "ip6", table]);
      world.struck();
      await putRules(world.namespace, "nft", family, { tables: [table] });
      return `${family} ${table}`;
    },
  },
  {
    name: "ruleset flushed",
    suits: ({ backend }) => backend === "nft",
    async strike(world) {
      await world.namespace.ok(["nft", "flush", "ruleset"]);
      world.struck();
      for (const family of FAMILIES) await putRules(world.namespace, "nft", family);
      await putNftTable(world.namespace);
      return "";
    },
  },
  {
    name: "everything at once",
    async strike(world) {
      const { namespace, options: { backend } } = world;
      await Promise.all([
        ip(world, FLUSH),
        ...FAMILIES.flatMap((family) => TABLES.map((table) => iptables(world, family, "-t", table, "-F"))),
      ]);
      await putLinks(namespace);
      for (const family of FAMILIES) await putRules(namespace, backend, family);
      return "";
    },
  },
  {
    name: "interface deleted",
    suits: ({ link }) => link !== "lo",
    async strike(world, random) {
      const pause = random.between(0, 300);
      await ip(world, ["link del dev LINK"]);
      // One of ours comes back by the program, one of somebody else's by him.
      if (world.link === FOREIGN_LINK) await delay(pause);
      await putLinks(world.namespace);
      return world.link === FOREIGN_LINK ? `for ${pause} ms` : "";
    },
  },
  {
    name: "interface down",
    async strike(world, random) {
      const pause = random.between(0, 300);
      await ip(world, ["link set dev LINK down"]);
      if (world.options.link !== "own") {
        await delay(pause);
        await ip(world, ["link set dev LINK up"]);
      }
      await putLinks(world.namespace); // IPv6 addresses and routes are gone with it
      return `for ${pause} ms`;
    },
  },
  {
    name: "flood of addresses",
    async strike(world, random) {
      const count = random.between(100, 600);
      const device = random.pick([world.link, OTHER_LINK]);
      const all = Array.from({ length: count }, (_, i) => `10.99.${i >> 8}.${i & 255}/32 dev ${device}`);
      await ip(world, [...all.map((it) => `address add ${it}`), `address del ${cidr(4)} dev LINK`]);
      await ip(world, all.map((it) => `address del ${it}`));
      return `${count} on ${device}`;
    },
  },
  {
    name: "flood of rules",
    async strike(world, random) {
      const [count, family] = [random.between(200, 600), random.pick(FAMILIES)];
      const rules = Array.from({ length: count }, (_, i) => `-A FLOOD -p udp -m udp --dport ${i + 1} -j DROP`);
      const gone = "*filter\n-F FLOOD\n-X FLOOD\nCOMMIT\n";
      await restore(world, family, `*filter\n:FLOOD - [0:0]\n${rules.join("\n")}\nCOMMIT\n`);
      const lost = await loseRule(world, random);
      await restore(world, family, gone);
      return `${count}; ${lost}`;
    },
  },
  {
    name: "monitor that loses events",
    suits: ({ link }) => link !== "own",
    async strike(world, random) {
      const monitors = (await world.children()).filter(({ name }) => name === "ip");
      for (const { pid } of monitors) send(pid, "SIGSTOP");
      const all = Array.from({ length: 4000 }, (_, i) => `10.98.${i >> 8}.${i & 255}/32 dev ${OTHER_LINK}`);
      await ip(world, all.flatMap((it) => [`address add ${it}`, `address del ${it}`]));
      const lost = await loseAddress(world, random);
      for (const { pid } of monitors) send(pid, "SIGCONT");
      world.struck();
      return lost;
    },
  },
];

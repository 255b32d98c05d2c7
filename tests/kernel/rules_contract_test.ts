/**
 * Holds the fake's iptables to the kernel where native nftables rules stand in a chain, where a chain is asked for by name, and
 * where the names of the legacy tables are asked for; the rest is in fake_contract_test.ts.
 */
import { assertEquals } from "@std/assert";
import type { CommandRunner } from "../../lib/node/process.ts";
import { SystemCommands } from "../../lib/node/system_commands.ts";
import { environmentOfCommands } from "../../lib/rights.ts";
import { FakeNode } from "../support/fake_node.ts";
import { kernelTest, type Namespace } from "../support/namespace.ts";

const END = "# end of listing\n";
const RULE = "-d ADDRESS -p tcp -m tcp --dport 443 -j ACCEPT";
const TABLE = "nft add table FAMILY filter\nPROGRAM -P INPUT ACCEPT\n";
const NATIVE = `${TABLE}nft add rule FAMILY filter INPUT ct state vmap { established : accept, invalid : drop }\n`;
const BOTH = "nft add rule FAMILY filter INPUT ct state new accept\n";
const UNREADABLE = "nft add rule FAMILY filter INPUT meta skuid 1 accept\n";
const FOREIGN =
  "nft add table FAMILY filter\nnft add chain FAMILY filter INPUT { type filter hook input priority 10; }\n";
const ADDED = `PROGRAM -A INPUT ${RULE}\n`;

/** Asks whether there are so many copies. */
function count(copies: number): string {
  return `*filter\n${`-D INPUT ${RULE}\n`.repeat(copies)}-S INPUT\n-N INPUT\nCOMMIT\n`;
}

/** What iptables 1.8.7 reads in its own way; native_test.ts shows that the program can live with that. */
const UNLIKE_OLD = /looked for|unreadable|cannot be read|another priority/;

/** What is told to one process after the other, about a state; ADDRESS, PROGRAM and FAMILY are filled in. */
const SCENARIOS: readonly (readonly [name: string, setup: string, told: readonly string[]])[] = [
  ...[0, 1, 2].map((copies) =>
    [
      `${copies} copies are counted in a native chain`,
      NATIVE + ADDED.repeat(copies),
      [...[1, 2, 3].map(count), `*filter\n-S INPUT\nCOMMIT\n${END}`],
    ] as const
  ),
  ["copies are counted in a chain that can be listed", TABLE + ADDED, [1, 2].map(count)],
  ["a rule is looked for in a native chain", NATIVE + ADDED, [
    `*filter\n-C INPUT ${RULE}\nCOMMIT\n${END}`,
    `*filter\n-C INPUT -s ADDRESS -j ACCEPT\nCOMMIT\n${END}`,
  ]],
  ["rules are changed in a native chain", NATIVE + ADDED + ADDED, [
    `*filter\n-D INPUT ${RULE}\n-D INPUT ${RULE}\n-I INPUT 1 ${RULE}\nCOMMIT\n${END}`,
    `*filter\n-I INPUT ${RULE}\nCOMMIT\n${END}`,
    `*filter\n-D INPUT ${RULE}\n-D INPUT ${RULE}\n-D INPUT ${RULE}\nCOMMIT\n${END}`,
  ]],
  ["other chains of a table with a native one are listed", NATIVE + ADDED, [
    `*raw\n-S OUTPUT\nCOMMIT\n*filter\n-S OUTPUT\nCOMMIT\n${END}`,
  ]],
  ["an unreadable rule is below", TABLE + ADDED + UNREADABLE, [
    `*filter\n-C INPUT ${RULE}\nCOMMIT\n${END}`,
    ...[1, 2].map(count),
  ]],
  ["an unreadable rule is above", TABLE + UNREADABLE + ADDED, [
    `*filter\n-S INPUT\nCOMMIT\n${END}`,
    `*filter\n-C INPUT ${RULE}\nCOMMIT\n${END}`,
    count(1),
    `*filter\n-I INPUT ${RULE}\nCOMMIT\n${END}`,
  ]],
  ["a rule that makes the chain native cannot be read either", TABLE + ADDED + BOTH, [
    `*filter\n-S INPUT\nCOMMIT\n${END}`,
    `*filter\n-C INPUT ${RULE}\nCOMMIT\n${END}`,
    ...[1, 2].map(count),
  ]],
  ["a chain has another priority", FOREIGN, [
    `*filter\n-D INPUT ${RULE}\nCOMMIT\n${END}`,
    `*filter\n-I INPUT ${RULE}\nCOMMIT\n${END}`,
    `*filter\n-I OUTPUT ${RULE}\nCOMMIT\n${END}`,
  ]],
  ["a chain is asked for by its name", "PROGRAM -t mangle -N KUBE-KUBELET-CANARY", [
    `*mangle\n-S KUBE-KUBELET-CANARY\nCOMMIT\n${END}`,
    `*mangle\n-S KUBE-IPTABLES-HINT\nCOMMIT\n${END}`,
  ]],
];

for (const family of [4, 6] as const) {
  for (const [name, setup, told] of SCENARIOS) {
    kernelTest(
      `FakeNode does as ip${family === 6 ? "6" : ""}tables-nft-restore does when ${name}`,
      async (namespace, context) => {
        const argv = [fill("PROGRAM-restore", family), "--noflush", "--verbose", "--wait=1"];
        const version = await namespace.ok([argv[0]!, "--version"]);
        if (version.includes("v1.8.7 ") && UNLIKE_OLD.test(name)) {
          await context.step({ name: "skipped: iptables 1.8.7 does it in its own way", ignore: true, fn() {} });
          return;
        }
        const before = fill(setup, family);
        await makeIn(namespace, before);
        const fake = new FakeNode(before);
        const isKnown = version.includes("v1.8.9 ");
        for (const text of told.map((text) => fill(text, family))) {
          const [ours, theirs] = await Promise.all(
            [fake, runnerIn(namespace)].map((runner) => tell(runner, argv, text)),
          );
          // Other releases say the same in other words.
          assertEquals(isKnown ? ours : ours?.answer, isKnown ? theirs : theirs?.answer, text);
          assertEquals(
            countIn(fake.dump()),
            countIn(await namespace.ok(["nft", "--stateless", "list", "ruleset"])),
            text,
          );
        }
      },
    );
  }
}

for (const family of [4, 6] as const) {
  kernelTest(`FakeNode prints rules as nft does, IPv${family}`, async (namespace) => {
    const setup = fill(
      `${NATIVE}${ADDED}PROGRAM -A INPUT -s ADDRESS -p tcp -m tcp --sport 443 -j NOTRACK\n${BOTH}${UNREADABLE}`,
      family,
    ).replaceAll("-j NOTRACK", "-j ACCEPT");
    await makeIn(namespace, setup);
    const argv = ["nft", "--stateless", "list", "chain", family === 4 ? "ip" : "ip6", "filter", "INPUT"];
    const [ours, theirs] = await Promise.all([new FakeNode(setup), runnerIn(namespace)].map(async (runner) => {
      const { stdout, error } = await runner.start(argv, { timeout: 5000 }).end();
      // Sets are printed in an order of their own; nft 0.9.8 prints what follows from the ports.
      const lines = stdout.replaceAll("meta l4proto tcp ", "").split("\n").filter((line) => !line.includes("vmap"));
      return { error, lines };
    }));
    assertEquals(ours, theirs);
  });
}

kernelTest("FakeNode does as ip does when it is asked for the names of the legacy tables", async (namespace) => {
  const fake = new FakeNode();
  for (const setup of ["", "iptables-legacy -t nat -A OUTPUT -j ACCEPT", "iptables-legacy -t mangle -N MINE"]) {
    fake.apply(setup);
    await namespace.ok(["sh", "-e"], { stdin: setup });
    for (const names of ["ip_tables_names", "ip6_tables_names"]) {
      const argv = ["ip", "-force", "-batch", `/proc/net/${names}`];
      const [ours, theirs] = await Promise.all(
        [fake, runnerIn(namespace)].map(async (runner) => {
          const { stdout, stderr, error } = await runner.start(argv, { timeout: 5000 }).end();
          return { stdout, code: error?.code, tables: [...stderr.matchAll(/^Object.*$/gm)].map(String).toSorted() };
        }),
      );
      assertEquals(ours, theirs);
    }
  }
});

async function tell(runner: CommandRunner, argv: readonly string[], text: string): Promise<
  {
    readonly answer: string | undefined;
    readonly stderr: string;
    readonly code: number | undefined;
    readonly kind?: string;
  }
> {
  const process = runner.start(argv, { timeout: 5000 });
  const answer = await process.say(text, ({ stdout }) => stdout.endsWith(END));
  const { stderr, error } = await process.end();
  return { answer: answer?.stdout, stderr, code: error?.code, ...error && { kind: error.kind } };
}

function runnerIn(namespace: Namespace): CommandRunner {
  const commands = new SystemCommands(environmentOfCommands());
  return { start: (argv, options) => commands.start(namespace.argv(argv), options) };
}

/** Runs command lines, of which a shell would take some characters for its own. */
async function makeIn(namespace: Namespace, lines: string): Promise<void> {
  for (const line of lines.split("\n").filter((line) => line !== "")) await namespace.ok(line.split(" "));
}

/** How many rules of ours stand there, as FakeNode.dump() or nft writes them. */
function countIn(ruleset: string): number {
  return ruleset.match(/(?:-A (?:IN|OUT)PUT -d|ip6? daddr) (?:10\.96\.0\.2|fd00:96::2)\b/g)?.length ?? 0;
}

function fill(text: string, family: 4 | 6): string {
  return text
    .replaceAll("ADDRESS", family === 4 ? "10.96.0.2/32" : "fd00:96::2/128")
    .replaceAll("PROGRAM", family === 4 ? "iptables-nft" : "ip6tables-nft")
    .replaceAll("FAMILY", family === 4 ? "ip" : "ip6");
}

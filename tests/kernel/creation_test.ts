/**
 * Tables that are not there: nft makes them, so that the policies of others are safe from iptables-nft.
 */
import { assert, assertEquals } from "@std/assert";
import type { Desired } from "../../lib/desired/desired.ts";
import { CHAINS, type Table } from "../../lib/desired/rules.ts";
import { creation } from "../../lib/node/iptables_creation.ts";
import type { Preparation } from "../../lib/node/tool.ts";
import { FakeNode } from "../support/fake_node.ts";
import { NftInteractive } from "../support/fake_programs.ts";
import { kernelTest, type Namespace, type Output } from "../support/namespace.ts";
import { filtered, flags, Program, runProgram, toolbox } from "../support/program.ts";

const DUAL = "--ip-address=10.96.0.2,fd00:96::2";
/** Notes each rule that iptables is told to insert into a chain that is not there. */
const NOTES_MISSING_CHAINS = filtered(`while IFS= read -r line; do
    case "$name" in ip6*) family=ip6 ;; *) family=ip ;; esac
    case "$line" in
      \\**) table=\${line#?} ;;
      "-I "*)
        set -- $line
        echo "$family $table $2" >> /run/inserted
        nft list chain $family $table $2 > /run/chain.$family || echo "$family $table $2" >> /run/missing ;;
    esac
    printf '%s\\n' "$line"
  done`);
/** The chains that get rules, of both families. */
const INSERTED = [
  "ip filter INPUT",
  "ip filter OUTPUT",
  "ip raw OUTPUT",
  "ip raw PREROUTING",
  "ip6 filter INPUT",
  "ip6 filter OUTPUT",
  "ip6 raw OUTPUT",
  "ip6 raw PREROUTING",
];

kernelTest(
  "iptables is told of no rule before the chain is there: at the start, and after tables were deleted",
  async (node) => {
    const path = await toolbox(node, { restore: NOTES_MISSING_CHAINS });
    await using daemon = await Program.start(node, [
      DUAL,
      "--setup-iptables",
      "--iptables-mode=nft",
      "--sync-interval=1h",
    ], { path });
    for (const deleted of [[], ["flush", "ruleset"], ["delete", "table", "ip", "filter"]]) {
      await node.ok(["sh", "-c", "rm -f /run/inserted"]);
      if (deleted.length > 0) await node.ok(["nft", ...deleted]);
      const wanted = INSERTED.filter((chain) => deleted.length < 3 || chain.startsWith("ip filter"));
      await daemon.until(async () => {
        const { stdout } = await node.run(["sort", "--unique", "/run/inserted"]);
        assertEquals(stdout.trim().split("\n"), wanted);
      });
    }
    assertEquals((await node.run(["cat", "/run/missing"])).stdout, "");
  },
);

kernelTest("without nft the rules are kept all the same", async (node) => {
  const path = await toolbox(node, { without: /^nft$/ });
  const { code, stderr } = await runProgram(node, flags("nft", "--daemon=false"), { path });
  assertEquals(code, 0, stderr);
});

for (const family of [4, 6] as const) {
  const [ip, iptables] = family === 4 ? ["ip", "iptables-nft"] : ["ip6", "ip6tables-nft"];

  kernelTest(`nft makes the tables of ${iptables} as that does`, async (node) => {
    for (const table of Object.keys(CHAINS) as Table[]) {
      for (const chain of CHAINS[table]) {
        await node.ok([iptables, "-t", table, "-A", chain, "-j", "ACCEPT"]);
        await node.ok([iptables, "-t", table, "-D", chain, "-j", "ACCEPT"]);
      }
    }
    const made = await tablesOf(node);
    await node.ok(["nft", "flush", "ruleset"]);
    await tell(node, family, await scriptFor(node, family));
    assertEquals(await tablesOf(node), made);
    for (const lost of [[`chain ${ip} raw OUTPUT`], [`chain ${ip} raw OUTPUT`, `chain ${ip} raw PREROUTING`]]) {
      for (const what of lost) await node.ok(["nft", `delete ${what}`]);
      await tell(node, family, await scriptFor(node, family));
      assertEquals(linesOf(await tablesOf(node)), linesOf(made));
    }
  });

  kernelTest(`nft changes nothing in tables of ${iptables} that are there`, async (node) => {
    const late = await scriptFor(node, family);
    await node.ok([iptables, "-P", "INPUT", "DROP"]);
    await node.ok([iptables, "-P", "OUTPUT", "DROP"]);
    await node.ok(["nft", `add table ${ip} raw { flags dormant; }`]);
    for (const chain of CHAINS.raw) {
      const hook = `type filter hook ${chain.toLowerCase()} priority raw; policy drop`;
      await node.ok(["nft", `add chain ${ip} raw ${chain} { ${hook}; }`]);
    }
    const before = await tablesOf(node);
    assertEquals(await scriptFor(node, family), "");
    // Nor when they were made in the moment after nobody saw them.
    const { stderr } = await tell(node, family, late);
    assertEquals(stderr.match(/^Error.*/gm), Array(2).fill("Error: Could not process rule: File exists"));
    assertEquals(await tablesOf(node), before);
  });
}

kernelTest("FakeNode's nft answers as nft does", async (node) => {
  const missing = await scriptFor(node, 4);
  const fake = new NftInteractive(new FakeNode());
  const input = preparation(4).look + missing + preparation(4).look + missing;
  for (const line of input.trimEnd().split("\n")) fake.line(line);
  const firstLines = ({ stdout, stderr }: Readonly<Record<"stdout" | "stderr", string>>) => ({
    stdout: stdout.replaceAll(/^payload.*, |\t\ttype filter .*\n/gm, ""),
    stderr: stderr.match(/^Error.*/gm),
  });
  assertEquals(firstLines(fake), firstLines(await tell(node, 4, input)));
});

/** Tells nft; gives what it says. */
async function tell(node: Namespace, family: 4 | 6, stdin: string): Promise<Output> {
  const output = await node.run(preparation(family).argv, { stdin, env: { HOME: "/dev/null" } });
  assertEquals(preparation(family).answered(output), stdin !== "");
  return output;
}

/** What nft is told to make on this node. */
async function scriptFor(node: Namespace, family: 4 | 6): Promise<string> {
  const { look, script } = preparation(family);
  return script((await tell(node, family, look)).stdout);
}

function tablesOf(node: Namespace): Promise<string> {
  return node.ok(["nft", "list", "ruleset"]);
}

/** The lines of a text, in no order: that of chains is the order in which they were made. */
function linesOf(text: string): readonly string[] {
  return text.split("\n").toSorted();
}

/** What precedes repairs where nobody has a rule. */
function preparation(family: 4 | 6): Preparation {
  const findings = (Object.keys(CHAINS) as Table[]).flatMap((table) =>
    CHAINS[table].map((chain) => ({
      item: { kind: "rule", family, table, chain, spec: "" } as Desired["rules"][number],
      state: "missing" as const,
      ok: false,
      isBare: true,
      repairs: [],
    }))
  );
  const preparation = creation(family, findings);
  assert(preparation !== undefined);
  return preparation;
}

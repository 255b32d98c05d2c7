/**
 * Tables of iptables in which native nftables rules stand.
 */
import { assertEquals, AssertionError, assertMatch, assertNotMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { ADDRESS, assertTidy, flags, Program, runProgram, sideBySide } from "../support/program.ts";

const ONCE = flags("nft", "--daemon=false");
const VMAP = "ct state vmap { established : accept, invalid : drop }";
/** Rules with which iptables-nft cannot list a chain; some it cannot even read. */
const NATIVE_RULES = [
  VMAP,
  "ct state established,related accept",
  "log accept",
  "tcp dport 443 reject",
  "meta skuid 1 accept",
  "ip dscp 1 accept",
];
/** How often our rules stand in raw PREROUTING, raw OUTPUT, filter INPUT and filter OUTPUT. */
const WANTED = [1, 2, 1, 1];
const GONE = [0, 0, 0, 0];

kernelTest(
  "native rules in INPUT: ours stand exactly once over passes, and cleanup leaves none",
  () =>
    sideBySide(Object.fromEntries(NATIVE_RULES.map((rule) => [rule, async (node: Namespace) => {
      await makeNative(node, "filter", "INPUT", `${rule}\ntcp dport 22 accept`);
      const before = await foreign(node);
      for (let pass = 0; pass < 3; pass++) {
        const { code, stderr } = await runProgram(node, ONCE);
        assertEquals({ code, counts: await counts(node) }, { code: 0, counts: WANTED }, stderr);
        assertNotMatch(stderr, /^[WE]/m);
      }
      const { code, stdout } = await runProgram(node, flags("nft", "--check"));
      assertEquals(code, 0, stdout);
      // Some of them 1.8.7 lists, as something else.
      const isListed = (await node.run(["iptables-nft", "-S", "INPUT"])).code === 0;
      const detail = isListed ? "" : " +its chain holds native nftables rules and cannot be listed";
      assertMatch(stdout, new RegExp(`^rule +filter INPUT .* present${detail}$`, "m"));
      const { code: cleaned, stderr } = await runProgram(node, [...ONCE, "--cleanup"]);
      assertEquals({ cleaned, counts: await counts(node) }, { cleaned: 0, counts: GONE }, stderr);
      assertEquals(await foreign(node), before);
    }]))),
);

kernelTest("native rules in raw and filter: a daemon repairs what is lost there, and cleans up", async (node) => {
  await makeNative(node, "filter", "INPUT", VMAP);
  await makeNative(node, "raw", "OUTPUT", VMAP);
  const before = await foreign(node);
  await using daemon = await Program.start(node, flags("nft", "--sync-interval=1h", "--cleanup"));
  await daemon.until(async () => assertEquals(await counts(node), WANTED));
  for (const [table, chain] of [["filter", "INPUT"], ["filter", "OUTPUT"], ["raw", "OUTPUT"]] as const) {
    await lose(node, table, chain);
    await daemon.until(async () => assertEquals(await counts(node), WANTED));
  }
  const { code, stderr } = await daemon.stop();
  assertEquals({ code, counts: await counts(node) }, { code: 0, counts: GONE }, stderr);
  assertNotMatch(stderr, /^[WE]/m);
  assertEquals(await foreign(node), before);
});

kernelTest("a chain that becomes native, and iptables' own again, is kept all the while", async (node) => {
  await using daemon = await Program.start(node, flags("nft", "--sync-interval=1h", "--cleanup"));
  await daemon.until(async () => assertEquals(await counts(node), WANTED));
  await node.ok(["nft", "add", "rule", "ip", "filter", "INPUT", VMAP]);
  for (const chain of ["OUTPUT", "INPUT"]) {
    await lose(node, "filter", chain);
    await daemon.until(async () => assertEquals(await counts(node), WANTED));
  }
  const listing = await node.ok(["nft", "--handle", "list", "chain", "ip", "filter", "INPUT"]);
  const [, handle = ""] = /vmap.* # handle (\d+)$/m.exec(listing) ?? [];
  await node.ok(["nft", "delete", "rule", "ip", "filter", "INPUT", "handle", handle]);
  for (const chain of ["OUTPUT", "INPUT"]) {
    await lose(node, "filter", chain);
    await daemon.until(async () => assertEquals(await counts(node), WANTED));
  }
  const { code, stderr } = await daemon.stop();
  assertEquals({ code, counts: await counts(node) }, { code: 0, counts: GONE }, stderr);
  assertNotMatch(stderr, /^[WE]/m);
});

kernelTest(
  "copies in a chain of native rules come back to one, and --check counts them without a change",
  async (node) => {
    await makeNative(node, "filter", "INPUT", VMAP);
    const copy = ["iptables-nft", "-I", "INPUT", ..."-p tcp -m tcp --dport 443 -j ACCEPT".split(" "), "-d", ADDRESS];
    for (let copies = 0; copies < 3; copies++) await node.ok(copy);
    const before = await node.ok(["nft", "--handle", "list", "ruleset"]);
    const { stdout } = await runProgram(node, flags("nft", "--check"));
    assertMatch(stdout, /^rule +filter INPUT .* surplus +3 copies; its chain holds native/m);
    assertEquals(await node.ok(["nft", "--handle", "list", "ruleset"]), before);
    const { code, stderr } = await runProgram(node, ONCE);
    assertEquals({ code, counts: await counts(node) }, { code: 0, counts: WANTED }, stderr);
  },
);

kernelTest(
  "where iptables can do nothing the table and the remedy are named, and the other chains get theirs",
  () =>
    sideBySide({
      "no hook": async (node) => {
        await node.ok(["nft", "add", "table", "ip", "filter"]);
        await node.ok(["nft", "add", "chain", "ip", "filter", "INPUT"]);
        await assertNamed(node);
      },
      "another hook": async (node) => {
        await makeNative(node, "filter", "INPUT", VMAP, "type filter hook forward priority 0;");
        await assertNamed(node);
      },
    }),
);

async function assertNamed(node: Namespace): Promise<void> {
  const { code, stderr } = await runProgram(node, ONCE);
  assertEquals({ code, counts: await counts(node) }, { code: 1, counts: [1, 2, 0, 1] }, stderr);
  assertTidy(stderr);
  const errors = stderr.split("\n").filter((line) => /^[WE]/.test(line));
  assertEquals(errors.length, 1, stderr);
  assertMatch(
    errors[0]!,
    /chain INPUT of table ip filter was not made by iptables.*give these native rules a table of another/,
  );
  assertNotMatch(stderr, /xt_CT/);
}

/** Makes a chain with rules that only nft can write. */
async function makeNative(
  node: Namespace,
  table: string,
  chain: string,
  rules: string,
  type = `type filter hook ${chain.toLowerCase()} priority ${table === "raw" ? -300 : 0};`,
): Promise<void> {
  await node.ok(["nft", "-f", "-"], { stdin: `table ip ${table} {\nchain ${chain} {\n${type}\n${rules}\n}\n}\n` });
}

/** Removes a rule of ours, as another program would. */
async function lose(node: Namespace, table: string, chain: string): Promise<void> {
  const listing = await node.ok(["nft", "--handle", "list", "chain", "ip", table, chain]);
  const [, handle] = new RegExp(`addr ${ADDRESS} .* # handle (\\d+)$`, "m").exec(listing) ?? [];
  if (handle === undefined) throw new AssertionError(`No rule of ours in ${table} ${chain}:\n${listing}`);
  await node.ok(["nft", "delete", "rule", "ip", table, chain, "handle", handle]);
}

async function counts(node: Namespace): Promise<readonly number[]> {
  const chains = [["raw", "PREROUTING"], ["raw", "OUTPUT"], ["filter", "INPUT"], ["filter", "OUTPUT"]];
  return await Promise.all(chains.map(async ([table = "", chain = ""]) => {
    const { stdout } = await node.run(["nft", "list", "chain", "ip", table, chain]);
    return stdout.split(`addr ${ADDRESS} `).length - 1;
  }));
}

/** All rules but ours. */
async function foreign(node: Namespace): Promise<readonly string[]> {
  const ruleset = await node.ok(["nft", "--stateless", "list", "ruleset"]);
  return ruleset.split("\n").filter((line) =>
    /^\t\t/.test(line) && !line.includes(ADDRESS) && !line.includes("type filter")
  );
}

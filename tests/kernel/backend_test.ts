import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  type Backend,
  BACKENDS,
  Program,
  ruleLines,
  runProgram,
  SCRIPTS,
  sideBySide,
  state,
  tables,
  toolbox,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const ADDRESS6 = "fd00:96::2";
const DUAL = [`--ip-address=${ADDRESS},${ADDRESS6}`, "--setup-iptables"];
const QUIET = ["--watch=false", "--sync-interval=1h"];
const HINTS = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"] as const;
const ADDRESSES = [`lo ${ADDRESS}/32 scope host`, `lo ${ADDRESS6}/128 scope global`];
const RULES = [...ruleLines(), ...ruleLines(ADDRESS6)];

const OTHER: Readonly<Record<Backend, Backend>> = { nft: "legacy", legacy: "nft" };

/** Leaves what a kubelet leaves that uses a back end. */
async function hint(node: Namespace, tool: string, chain: string): Promise<void> {
  await node.ok([tool, "-t", "mangle", "-N", chain]);
}

/** The back end that --check names, which has to leave all tables as they are. */
async function detected(node: Namespace, flags: readonly string[], path: string): Promise<string | null> {
  const before = await tables(node);
  const { code, stdout, stderr } = await runProgram(node, [...flags, "--check", "--output=json"], { path });
  assertEquals({ code, stderr }, { code: 1, stderr: "" });
  assertEquals(await tables(node), before);
  return JSON.parse(stdout).backend;
}

Deno.test({
  name: "--iptables-mode=auto finds the kubelet's hint when it is in either back end and family",
  sanitizeOps: true,
  sanitizeResources: true,
  fn: () =>
    sideBySide(Object.fromEntries([
      ["no hint", async (node: Namespace) => {
        assertEquals(await detected(node, DUAL, await toolbox(node)), "nft");
      }],
      ["no hint, beside legacy tables of others", async (node: Namespace) => {
        await node.ok(["iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT"]);
        await node.ok(["ip6tables-legacy", "-N", "OTHER"]);
        assertEquals(await detected(node, DUAL, await toolbox(node)), "nft");
      }],
      ["in both back ends", async (node: Namespace) => {
        await hint(node, "iptables-legacy", HINTS[0]);
        await hint(node, "ip6tables-nft", HINTS[1]);
        assertEquals(await detected(node, DUAL, await toolbox(node)), "nft");
      }],
      ...BACKENDS.flatMap((backend) =>
        ["iptables", "ip6tables"].flatMap((tool) =>
          HINTS.map((chain) => [`${tool}-${backend} ${chain}`, async (node: Namespace) => {
            await hint(node, `${tool}-${backend}`, chain);
            const path = await toolbox(node);
            assertEquals(await detected(node, DUAL, path), backend);
            // The node's mark is the node's, whichever family this program is asked to serve.
            for (const ip of [ADDRESS, ADDRESS6]) {
              assertEquals(await detected(node, [`--ip-address=${ip}`, "--setup-iptables"], path), backend, ip);
            }
          }])
        )
      ),
    ])),
});

kernelTest("--iptables-mode=auto puts the rules where they work when only some tools are installed", async (node) => {
  const before = await node.dump();
  const installed: readonly (readonly [string, Backend, RegExp])[] = [
    ["only nft", "nft", /-legacy/],
    ["only legacy", "legacy", /-nft/],
    ["only plain names, driving nft", "nft", /-(?:nft|legacy)/],
    ["only plain names, driving legacy", "legacy", /-(?:nft|legacy)/],
  ];
  for (const [name, backend, without] of installed) {
    const path = await toolbox(node, { backend, without });
    const { code, stderr } = await runProgram(node, [...DUAL, ONCE], { path });
    assertEquals(code, 0, `${name}: ${stderr}`);
    assertNotMatch(stderr, /^[WE]/m, name);
    assertEquals(await state(node, backend), [...ADDRESSES, ...RULES], name);
    assertEquals(await state(node, OTHER[backend]), ADDRESSES, name);
    const again = await runProgram(node, [...DUAL, ONCE, "--cleanup"], { path });
    assertEquals(again.code, 0, `${name}: ${again.stderr}`);
    assertSameDump(await node.dump(), before);
  }
});

for (const backend of BACKENDS) {
  kernelTest(`--iptables-mode=${backend} fails and names what is missing when its tools are`, async (node) => {
    const path = await toolbox(node, { without: new RegExp(`-${backend}`), backend: OTHER[backend] });
    const flags = [`--ip-address=${ADDRESS}`, "--setup-iptables", `--iptables-mode=${backend}`, ONCE];
    const { code, stderr } = await runProgram(node, flags, { path });
    assertEquals(code, 1, stderr);
    assertTidy(stderr);
    const errors = stderr.split("\n").filter((line) => /^[WE]/.test(line));
    assertEquals(errors.length, 1, stderr);
    assertMatch(errors[0]!, new RegExp(`iptables-${backend}-restore: not installed: Debian's package iptables has it`));
    // The one that is installed is not taken instead.
    assertEquals(await state(node, OTHER[backend]), ADDRESSES.slice(0, 1));
  });

  kernelTest(`${backend}: rules left in the other back end are warned of, shown and removed`, async (node) => {
    const before = await node.dump();
    const path = await toolbox(node);
    const left = await runProgram(node, [...DUAL, `--iptables-mode=${OTHER[backend]}`, ONCE], { path });
    assertEquals(left.code, 0, left.stderr);
    const own = [...DUAL, `--iptables-mode=${backend}`];

    await using daemon = await Program.start(node, [...own, ...QUIET, "--cleanup"], { path });
    await daemon.logged(new RegExp(`^W.* Rules of an earlier run stand in the back end .*="${OTHER[backend]}"$`, "m"));
    assertEquals(await state(node, backend), [...ADDRESSES, ...RULES]);
    assertEquals(await state(node, OTHER[backend]), [...ADDRESSES, ...RULES]);

    const text = await runProgram(node, [...own, "--check"], { path });
    assertMatch(text.stdout, new RegExp(`^Rules of an earlier run stand in the back end ${OTHER[backend]} too`, "m"));
    const json = await runProgram(node, [...own, "--check", "--output=json"], { path });
    const { strayRulesIn, inSync } = JSON.parse(json.stdout);
    assertEquals({ strayRulesIn, inSync }, { strayRulesIn: OTHER[backend], inSync: true });

    const { code, stderr } = await daemon.stop();
    assertEquals(code, 0, stderr);
    assertSameDump(await node.dump(), before);
  });

  kernelTest(`${backend}: --cleanup removes rules from the other back end when only some are left`, async (node) => {
    const before = await node.dump();
    const path = await toolbox(node);
    await runProgram(node, [...DUAL, `--iptables-mode=${OTHER[backend]}`, ONCE], { path });
    for (const tool of ["iptables", "ip6tables"]) await node.ok([`${tool}-${OTHER[backend]}`, "-t", "raw", "-F"]);
    const { code, stderr } = await runProgram(node, [...DUAL, `--iptables-mode=${backend}`, ONCE, "--cleanup"], {
      path,
    });
    assertEquals(code, 0, stderr);
    assertSameDump(await node.dump(), before);
  });
}

for (const ask of ["the interval", "SIGHUP"]) {
  for (const tool of ["iptables-legacy", "ip6tables-legacy"]) {
    kernelTest(`--iptables-mode=auto moves the rules at ${ask} when ${tool} gets the hint`, async (node) => {
      const path = await toolbox(node);
      const interval = ask === "SIGHUP" ? "1h" : "100ms";
      const flags = [...DUAL, `--sync-interval=${interval}`, "--cleanup"];
      await using daemon = await Program.start(node, flags, { path });
      await daemon.reached(node, [...ADDRESSES, ...RULES], "nft");
      await hint(node, tool, HINTS[0]);
      if (ask === "SIGHUP") daemon.kill("SIGHUP");
      await daemon.reached(node, [...ADDRESSES, ...RULES], "legacy");
      await daemon.reached(node, ADDRESSES, "nft");
      await daemon.logged(/^I.* The node uses another back end of iptables now, .*="legacy"$/m);
      const { code, stderr } = await daemon.stop();
      assertEquals(code, 0, stderr);
      assertNotMatch(stderr, /^[WE]/m);
      assertEquals(await state(node, "legacy"), []);
    });
  }
}

kernelTest("--iptables-mode=auto keeps the old rules until the new ones stand when a move fails", async (node) => {
  // The legacy back end takes no rules until /run/open is there.
  const restore =
    `case $name in *legacy*) [ -e /run/open ] || { echo "Resource temporarily unavailable" >&2; exit 4; } ;;
    esac
    exec "$real" "$@"`;
  const path = await toolbox(node, { restore });
  await using daemon = await Program.start(node, [...DUAL, ...QUIET], { path });
  await daemon.reached(node, [...ADDRESSES, ...RULES], "nft");
  await hint(node, "iptables-legacy", HINTS[0]);
  daemon.kill("SIGHUP");
  await daemon.logged(/^E.* Cannot keep rules/m);
  assertEquals(await state(node, "nft"), [...ADDRESSES, ...RULES]);
  await node.ok(["touch", "/run/open"]);
  await daemon.reached(node, [...ADDRESSES, ...RULES], "legacy");
  await daemon.reached(node, ADDRESSES, "nft");
});

kernelTest("--iptables-mode=auto says so and tries again when the old rules cannot be removed", async (node) => {
  const restore = `if [ -e /run/open ]; then exec "$real" "$@"; fi\n${SCRIPTS.cannotDelete}`;
  const path = await toolbox(node, { restore });
  await using daemon = await Program.start(node, [...DUAL, "--watch=false", "--sync-interval=100ms"], { path });
  await daemon.reached(node, [...ADDRESSES, ...RULES], "nft");
  await hint(node, "iptables-legacy", HINTS[0]);
  await daemon.reached(node, [...ADDRESSES, ...RULES], "legacy");
  await daemon.logged(/^[WE].*(?:nft|remove)/m);
  await node.ok(["touch", "/run/open"]);
  await daemon.reached(node, ADDRESSES, "nft");
});

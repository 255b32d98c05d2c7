import { assertEquals, assertMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  Program,
  runProgram,
  SCRIPTS,
  state,
  toolbox,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const ADDRESS6 = "fd00:96::2";
const LINK = "apiserver-proxy";
const OWN = [`--ip-address=${ADDRESS},${ADDRESS6}`, `--interface=${LINK}`];
const QUIET = ["--watch=false", "--sync-interval=1h"];
const ON_LO = [`lo ${ADDRESS}/32 scope host`, `lo ${ADDRESS6}/128 scope global`];
const ON_LINK = on(LINK);

function on(link: string): string[] {
  return [`${link} ${ADDRESS}/32 scope global`, `${link} ${ADDRESS6}/128 scope global`];
}

/** Makes an interface of somebody else's. */
async function addBridge(node: Namespace, name: string, up: "up" | "down" = "up"): Promise<void> {
  await node.ok(["ip", "-batch", "-"], {
    stdin: `link add ${name} type bridge\nlink set ${name} addrgenmode none\nlink set ${name} ${up}\n`,
  });
}

async function linkState(node: Namespace, name: string): Promise<{ up: boolean; alias: string | undefined }> {
  const [{ flags, ifalias }] = JSON.parse(await node.ok(["ip", "-json", "link", "show", name]));
  return { up: flags.includes("UP"), alias: ifalias };
}

const MINE = { up: true, alias: "apiserver-proxy-sidecar" };

kernelTest("--interface is reported with the module's name when the kernel lacks the link type", async (node) => {
  // By another name than dummy, so that kernels that have dummy links refuse it, too.
  const noDummy = SCRIPTS.bridgeForDummy.replace("type bridge", "type nosuchtype");
  for (const path of [await toolbox(node), await toolbox(node, { ip: noDummy })]) {
    if (path !== undefined && (await node.run(["ip", "link", "add", "probe0", "type", "dummy"])).code === 0) {
      await node.ok(["ip", "link", "del", "probe0"]);
      continue;
    }
    const before = await node.dump();
    const { code, stderr } = await runProgram(node, [...OWN, ONCE], { path });
    assertEquals(code, 1, stderr);
    assertTidy(stderr);
    assertMatch(
      stderr,
      /^E.* Cannot keep link err="Cannot run ip: .*load the module dummy.*" interface="apiserver-proxy"/m,
    );
    assertSameDump(await node.dump(), before);
  }
});

kernelTest("--interface leaves the address where it is when the interface cannot be created", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy.replace("type bridge", "type nosuchtype") });
  assertEquals((await runProgram(node, [OWN[0]!, ONCE], { path })).code, 0);
  const before = await node.dump();
  const { code, stderr } = await runProgram(node, [...OWN, ONCE], { path });
  assertEquals(code, 1, stderr);
  assertEquals(await state(node), ON_LO);
  assertSameDump(await node.dump(), before);
});

kernelTest("--interface is created, kept up, created again, and removed when it did not exist", async (node) => {
  const before = await node.dump();
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  // Events alone repair it.
  await using daemon = await Program.start(node, [...OWN, "--sync-interval=1h", "--cleanup", "-v=2"], { path });
  await daemon.reached(node, ON_LINK);
  // The pass that follows the subscription of the watcher.
  await daemon.logged(/(?:Made a pass[^]*){2}/);
  const kept = () =>
    daemon.until(async () => {
      const { code } = await node.run(["ip", "link", "show", LINK]);
      assertEquals(code === 0 && await linkState(node, LINK), MINE);
    });
  await kept();
  await node.ok(["ip", "link", "set", LINK, "down"]); // which takes the IPv6 address away, too
  await kept();
  await daemon.reached(node, ON_LINK);
  await node.ok(["ip", "link", "del", LINK]);
  await kept();
  await daemon.reached(node, ON_LINK);
  const { code, stderr } = await daemon.stop();
  assertEquals(code, 0, stderr);
  assertTidy(stderr);
  assertSameDump(await node.dump(), before);
});

kernelTest("--cleanup keeps an interface of ours when somebody put an address on it", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  for (const foreign of ["192.0.2.7/32", "2001:db8::7/128"]) {
    assertEquals((await runProgram(node, [...OWN, ONCE], { path })).code, 0);
    await node.ok(["ip", "address", "add", foreign, "dev", LINK]);
    const { code, stderr } = await runProgram(node, [...OWN, ONCE, "--cleanup"], { path });
    assertEquals(code, 0, stderr);
    assertEquals(await state(node), [`${LINK} ${foreign} scope global`]);
    assertEquals(await linkState(node, LINK), MINE);
    await node.ok(["ip", "address", "del", foreign, "dev", LINK]);
    assertEquals((await runProgram(node, [...OWN, ONCE, "--cleanup"], { path })).code, 0);
    assertEquals((await node.run(["ip", "link", "show", LINK])).code, 1);
  }
});

kernelTest("--interface is reported and not touched when it is down and somebody else's", async (node) => {
  await addBridge(node, "br0", "down");
  const path = await toolbox(node);
  const flags = [`--ip-address=${ADDRESS},${ADDRESS6}`, "--interface=br0", ONCE];
  const { code, stderr } = await runProgram(node, flags, { path });
  assertEquals(code, 1, stderr);
  assertMatch(
    stderr,
    /^E.* Cannot keep link interface="br0" found="down, and not this program's to bring up"$/m,
  );
  assertEquals(await linkState(node, "br0"), { up: false, alias: undefined });
  const check = await runProgram(node, [...flags.slice(0, 2), "--check", "--output=json"], { path });
  const link = JSON.parse(check.stdout).items[0];
  assertEquals({ code: check.code, link }, {
    code: 1,
    link: {
      kind: "link",
      name: "br0",
      interface: null,
      state: "wrong",
      ok: false,
      detail: "down, and not this program's to bring up",
      error: null,
      warning: null,
      removes: [],
      repair: [],
    },
  });
});

kernelTest("--interface is waited for when it is somebody else's and vanishes", async (node) => {
  await addBridge(node, "br0");
  // Somebody has the same address elsewhere, which --deduplicate=auto leaves alone: br0 is not ours.
  await addBridge(node, "br1");
  await node.ok(["ip", "address", "add", `${ADDRESS}/32`, "dev", "br1"]);
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  const flags = [`--ip-address=${ADDRESS},${ADDRESS6}`, "--interface=br0", "--sync-interval=1h"];
  await using daemon = await Program.start(node, [...flags, "-v=2"], { path });
  await daemon.reached(node, [...on("br0"), `br1 ${ADDRESS}/32 scope global`]);
  await daemon.logged(/(?:Made a pass[^]*){2}/);
  await node.ok(["ip", "link", "del", "br0"]);
  await daemon.logged(/Cannot keep link interface="br0" found="missing, and waited for: it was not this program's"/);
  assertEquals(await state(node), [`br1 ${ADDRESS}/32 scope global`]);
  assertEquals((await node.run(["ip", "link", "show", "br0"])).code, 1);
  await addBridge(node, "br0");
  await daemon.reached(node, [`br1 ${ADDRESS}/32 scope global`, ...on("br0")]);
  assertEquals(await linkState(node, "br0"), { up: true, alias: undefined });
  assertEquals((await daemon.stop()).code, 0);
});

kernelTest("--address-scope sets the scope when the interface is lo, ours or another's", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  await addBridge(node, "br0");
  const cases = ["lo", LINK, "br0"].flatMap((link) => ["auto", "host", "link", "global"].map((scope) => [link, scope]));
  for (const [link, flag] of cases) {
    const scope = flag !== "auto" ? flag : link === "lo" ? "host" : "global";
    const flags = [OWN[0]!, `--interface=${link}`, `--address-scope=${flag}`, "--deduplicate=true", ONCE];
    const { code, stderr } = await runProgram(node, flags, { path });
    assertEquals(code, 0, stderr);
    // IPv6 derives the scope from the address.
    assertEquals(
      await state(node),
      [`${link} ${ADDRESS}/32 scope ${scope}`, `${link} ${ADDRESS6}/128 scope global`],
      `${link} ${flag}`,
    );
  }
});

kernelTest("--deduplicate takes the address from other interfaces when it says so", async (node) => {
  const path = await toolbox(node, { ip: SCRIPTS.bridgeForDummy });
  await addBridge(node, "br0");
  const before = await node.dump();
  const cases = [
    ["br0", "auto", [...ON_LO, ...on("br0")]],
    ["br0", "false", [...ON_LO, ...on("br0")]],
    ["br0", "true", on("br0")],
    [LINK, "auto", ON_LINK],
    [LINK, "false", [...ON_LO, ...ON_LINK]],
    [LINK, "true", ON_LINK],
  ] as const;
  for (const [link, flag, wanted] of cases) {
    assertEquals((await runProgram(node, [OWN[0]!, ONCE], { path })).code, 0);
    const flags = [OWN[0]!, `--interface=${link}`, `--deduplicate=${flag}`, ONCE];
    const { code, stderr } = await runProgram(node, flags, { path });
    assertEquals(code, 0, stderr);
    assertEquals(await state(node), [...wanted], `${link} ${flag}`);
    for (const dev of ["lo", link]) {
      await runProgram(node, [OWN[0]!, `--interface=${dev}`, ONCE, "--cleanup", "--deduplicate=false"], { path });
    }
    assertSameDump(await node.dump(), before);
  }
});

kernelTest("--deduplicate=true keeps what is not the same /32 when it removes duplicates", async (node) => {
  await addBridge(node, "br0");
  await node.ok(["ip", "-batch", "-"], {
    stdin:
      `address add ${ADDRESS}/24 dev br0\naddress add 10.96.0.20/32 dev lo\naddress add ${ADDRESS6}/64 dev br0 nodad\n`,
  });
  const there = await state(node);
  const { code, stderr } = await runProgram(node, [OWN[0]!, "--deduplicate=true", ...QUIET, ONCE]);
  assertEquals(code, 0, stderr);
  assertEquals((await state(node)).toSorted(), [...there, ...ON_LO].toSorted());
});

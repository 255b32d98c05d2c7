import { assertEquals, assertMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  type Backend,
  BACKENDS,
  flags,
  Program,
  ruleLines,
  runProgram,
  SCRIPTS,
  toolbox,
  WANTED,
} from "../support/program.ts";

const QUIET = ["--watch=false", "--sync-interval=1h"];
/** Makes 20 more copies of each of our rules. */
async function duplicate(namespace: Namespace, backend: Backend): Promise<void> {
  const lines = ruleLines().flatMap((line) => {
    const [table, , ...spec] = line.split(" ");
    return [`*${table}`, ...Array.from({ length: 20 }, () => `-A ${spec.join(" ")}`), "COMMIT"];
  });
  await namespace.ok([`iptables-${backend}-restore`, "--noflush"], { stdin: `${lines.join("\n")}\n` });
}

/** What somebody did to our things before the cleanup. */
const SABOTAGE: Record<string, (namespace: Namespace, backend: Backend) => Promise<unknown>> = {
  "all is there": async () => {},
  "the address is gone": (namespace) => namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]),
  "the rules are gone": async (namespace, backend) => {
    for (const table of ["raw", "filter"]) await namespace.ok([`iptables-${backend}`, "-t", table, "-F"]);
  },
  "all is gone": async (namespace, backend) => {
    await SABOTAGE["the address is gone"]!(namespace, backend);
    await SABOTAGE["the rules are gone"]!(namespace, backend);
  },
  "there are duplicates": duplicate,
};

for (const backend of BACKENDS) {
  for (const [what, sabotage] of Object.entries(SABOTAGE)) {
    kernelTest(`${backend}: cleanup succeeds when ${what}`, async (namespace) => {
      const before = await namespace.dump();
      await using program = await Program.start(namespace, flags(backend, ...QUIET, "--cleanup"), { backend });
      await program.reached(namespace, WANTED, backend);
      await sabotage(namespace, backend);
      const { code, stderr } = await program.stop();
      assertEquals(code, 0, stderr);
      assertTidy(stderr);
      assertSameDump(await namespace.dump(), before);
    });
  }

  kernelTest(`${backend}: a killed daemon leaves all in place, and the next one takes it over`, async (namespace) => {
    const before = await namespace.dump();
    const path = await toolbox(namespace, { backend });
    await using killed = await Program.start(namespace, flags(backend, ...QUIET, "--cleanup"), { path });
    await killed.reached(namespace, WANTED, backend);
    const there = await namespace.dump();
    await killed.stop("SIGKILL");
    assertSameDump(await namespace.dump(), there);

    await using next = await Program.start(namespace, flags(backend, ...QUIET, "--cleanup", "-v=2"), { path });
    await next.logged(/Made a pass/);
    assertSameDump(await namespace.dump(), there);
    const { code, stderr } = await next.stop();
    assertEquals(code, 0, stderr);
    assertSameDump(await namespace.dump(), before);
  });

  kernelTest(`${backend}: --daemon=false --cleanup removes what earlier runs left`, async (namespace) => {
    const before = await namespace.dump();
    const path = await toolbox(namespace, { backend });
    const dual = [`--ip-address=${ADDRESS},fd00:96::2`, ...flags(backend).slice(1), "--daemon=false"];
    assertEquals((await runProgram(namespace, dual, { path })).code, 0);
    await duplicate(namespace, backend);
    const { code, stderr } = await runProgram(namespace, [...dual, "--cleanup"], { path });
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  });
}

kernelTest("cleanup succeeds when the interface is gone, and does not bring it back", async (namespace) => {
  const before = await namespace.dump();
  const foreign = ["link add br0 type bridge", "link set br0 addrgenmode none", "link set br0 up"];
  await namespace.ok(["ip", "-batch", "-"], { stdin: `${foreign.join("\n")}\n` });
  const path = await toolbox(namespace, { ip: SCRIPTS.bridgeForDummy });
  for (const link of ["br0", "nodeproxy"]) {
    await using program = await Program.start(
      namespace,
      flags("nft", ...QUIET, "--cleanup", `--interface=${link}`),
      { path },
    );
    await program.reached(namespace, [`${link} ${ADDRESS}/32 scope global`, ...ruleLines()]);
    await namespace.ok(["ip", "link", "del", link]);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  }
});

kernelTest("cleanup removes the rules before the address", async (namespace) => {
  const before = await namespace.dump();
  // Looks at the rules in the moment when the address goes.
  const ip = `while IFS= read -r line; do
    case $line in *address*del*) iptables-nft-save > /run/rules ;; esac
    echo "$line"
  done | "$real" "$@"`;
  const path = await toolbox(namespace, { ip });
  await using program = await Program.start(namespace, flags("nft", ...QUIET, "--cleanup"), { path });
  await program.reached(namespace, WANTED);
  const { code, stderr } = await program.stop();
  assertEquals(code, 0, stderr);
  const rules = (await namespace.ok(["cat", "/run/rules"])).split("\n");
  assertMatch(rules[0] ?? "", /^# Generated by iptables-nft-save/);
  assertEquals(rules.filter((line) => line.includes(ADDRESS)), []);
  assertSameDump(await namespace.dump(), before);
});

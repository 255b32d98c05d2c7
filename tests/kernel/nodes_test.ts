import { assert, assertEquals } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  assertSameDump,
  assertTidy,
  type Backend,
  BACKENDS,
  ruleLines,
  runProgram,
  state,
  toolbox,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

/** All rules of one family, chain by chain, in the order in which they are to stand. */
function familyRules(ips: readonly string[], ports: readonly number[]): string[] {
  const all = ips.flatMap((ip) => ports.map((port) => ruleLines(ip, port)));
  return ["raw -A PREROUTING", "raw -A OUTPUT", "filter -A INPUT", "filter -A OUTPUT"].flatMap((chain) =>
    all.flatMap((five) => five.filter((line) => line.startsWith(`${chain} `)))
  );
}

/** Asserts that one process of each tool has been started, but of nft, which is asked about an empty node, one or two. */
async function assertStarted(namespace: Namespace, backend: Backend): Promise<void> {
  const names = (await namespace.ok(["cat", "/run/started"])).trimEnd().split("\n");
  const [nft, others] = [names.filter((name) => name === "nft"), names.filter((name) => name !== "nft")];
  assertEquals(others.toSorted(), ["ip", `ip6tables-${backend}-restore`, `iptables-${backend}-restore`]);
  assert((backend === "nft" ? [1, 2] : [0]).includes(nft.length), `${nft.length} processes of nft`);
}

const RECORD = "echo $name >> /run/started";

for (const backend of BACKENDS) {
  kernelTest(`${backend}: --ip-address and --port make rules for each pair when several are mixed`, async (node) => {
    const before = await node.dump();
    const path = await toolbox(node, { backend, before: RECORD });
    const own = [
      "--ip-address=240.0.0.7,fd00:96::2",
      "--ip-address=10.96.0.2",
      "--ip-address=64:ff9b:1::100.104.1.2",
      "--port=443,6443",
      "--port=8443",
      "--setup-iptables",
      `--iptables-mode=${backend}`,
      ONCE,
    ];
    const { code, stderr } = await runProgram(node, own, { path });
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    await assertStarted(node, backend);
    const ports = [443, 6443, 8443];
    assertEquals(
      (await state(node, backend)).map((line) => line.replace("64:ff9b:1::100.104.1.2", "64:ff9b:1::6468:102")),
      [
        "lo 240.0.0.7/32 scope host",
        "lo 10.96.0.2/32 scope host",
        "lo 64:ff9b:1::6468:102/128 scope global",
        "lo fd00:96::2/128 scope global",
        ...familyRules(["240.0.0.7", "10.96.0.2"], ports),
        ...familyRules(["fd00:96::2", "64:ff9b:1::6468:102"], ports),
      ],
    );
    const after = await node.dump();
    assertEquals((await runProgram(node, own, { path })).code, 0);
    assertSameDump(await node.dump(), after);
    assertEquals((await runProgram(node, [...own, "--cleanup"], { path })).code, 0);
    assertSameDump(await node.dump(), before);
  });

  kernelTest(`${backend}: --ip-address starts one process per family and kind when there are 256`, async (node) => {
    const before = await node.dump();
    const path = await toolbox(node, { backend, before: RECORD });
    const v4 = Array.from({ length: 128 }, (_, i) => `10.97.0.${i}`);
    const v6 = Array.from({ length: 128 }, (_, i) => `fd00:97::1:${i.toString(16)}`);
    const own = [`--ip-address=${[...v4, ...v6].join(",")}`, "--setup-iptables", `--iptables-mode=${backend}`, ONCE];
    const { code, stderr } = await runProgram(node, own, { path });
    assertEquals(code, 0, stderr);
    await assertStarted(node, backend);
    const there = await state(node, backend);
    assertEquals(
      there.slice(0, 256).toSorted(),
      [
        ...v4.map((ip) => `lo ${ip}/32 scope host`),
        ...v6.map((ip) => `lo ${ip}/128 scope global`),
      ].toSorted(),
    );
    assertEquals(there.slice(256), [...familyRules(v4, [443]), ...familyRules(v6, [443])]);
    assertEquals((await runProgram(node, [...own, "--cleanup"], { path })).code, 0);
    assertSameDump(await node.dump(), before);
  });
}

import { assertEquals } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { assertSameDump, assertTidy, BACKENDS, ruleLines, runProgram, state, toolbox } from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

/** All rules of one family, chain by chain, in the order in which they are to stand. */
function familyRules(ips: readonly string[], ports: readonly number[]): string[] {
  const all = ips.flatMap((ip) => ports.map((port) => ruleLines(ip, port)));
  return ["raw -A PREROUTING", "raw -A OUTPUT", "filter -A INPUT", "filter -A OUTPUT"].flatMap((chain) =>
    all.flatMap((five) => five.filter((line) => line.startsWith(`${chain} `)))
  );
}

/** The tools that were started since the last time this was asked. */
async function started(namespace: Namespace): Promise<string[]> {
  const names = (await namespace.ok(["cat", "/run/started"])).trimEnd().split("\n");
  await namespace.ok(["truncate", "--size=0", "/run/started"]);
  return names.toSorted();
}

const RECORD = "echo $name >> /run/started";

for (const backend of BACKENDS) {
  const tools = [`ip6tables-${backend}-restore`, `iptables-${backend}-restore`];
  // Of an empty node, one for each table.
  const makers = backend === "nft" ? Array<string>(4).fill("nft") : [];

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
    assertEquals(await started(node), ["ip", ...tools, ...makers]);
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
    assertEquals(await started(node), ["ip", ...tools, ...makers]);
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

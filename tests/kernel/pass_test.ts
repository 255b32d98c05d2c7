import { assertEquals, assertNotMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  addedLines,
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
  state,
  toolbox,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const DUAL = `--ip-address=${ADDRESS},fd00:96::2`;

/** Puts foreign rules into the chains that ours go to. */
async function addForeignRules(namespace: Namespace, backend: Backend): Promise<void> {
  await namespace.ok([`iptables-${backend}-restore`], {
    stdin: `*raw
-A PREROUTING -s 192.0.2.1/32 -j ACCEPT
-A OUTPUT -s 192.0.2.2/32 -j ACCEPT
COMMIT
*filter
-A INPUT -s 192.0.2.3/32 -j ACCEPT
-A OUTPUT -s 192.0.2.4/32 -j ACCEPT
COMMIT
`,
  });
}

/** Asserts that each tool was started at most once: a process that was started before may be used again. */
function assertAtMostOnce(started: string[]): void {
  assertEquals(started, ["ip", "ip6tables", "iptables"].filter((name) => started.includes(name)));
}

for (const backend of BACKENDS) {
  kernelTest(`${backend}: one pass puts address and rules in, a second one changes nothing`, async (namespace) => {
    await addForeignRules(namespace, backend);
    const before = await namespace.dump();
    const path = await toolbox(namespace, { backend });

    const first = await runProgram(namespace, flags(backend, ONCE), { path });
    assertEquals(first.code, 0, first.stderr);
    assertEquals(first.stdout, "");
    assertTidy(first.stderr);
    const [prerouting, outputTo, outputFrom, input, output] = ruleLines();
    assertEquals(await state(namespace, backend), [
      `lo ${ADDRESS}/32 scope host`,
      prerouting!,
      "raw -A PREROUTING -s 192.0.2.1/32 -j ACCEPT",
      outputTo!,
      outputFrom!,
      "raw -A OUTPUT -s 192.0.2.2/32 -j ACCEPT",
      input!,
      "filter -A INPUT -s 192.0.2.3/32 -j ACCEPT",
      output!,
      "filter -A OUTPUT -s 192.0.2.4/32 -j ACCEPT",
    ]);
    const after = await namespace.dump();
    // One address makes one route: with a broadcast address there would be two.
    assertEquals(
      addedLines(before, after).map((line) => line.trimEnd().replace("CT --notrack", "NOTRACK")).toSorted(),
      [
        `lo    inet ${ADDRESS}/32 scope host lo\\       valid_lft forever preferred_lft forever`,
        `local ${ADDRESS} dev lo table local proto kernel scope host src ${ADDRESS}`,
        ...ruleLines().map((line) => line.replace(/^\w+ /, "")),
      ].toSorted(),
    );

    const second = await runProgram(namespace, flags(backend, ONCE), { path });
    assertEquals(second.code, 0, second.stderr);
    assertSameDump(await namespace.dump(), after);
  });

  kernelTest(`${backend}: both families and several ports, each through its own tool`, async (namespace) => {
    const { code, stderr } = await runProgram(
      namespace,
      [DUAL, "--port=443,6443", "--setup-iptables", `--iptables-mode=${backend}`, ONCE],
      { backend },
    );
    assertEquals(code, 0, stderr);
    const of = (ip: string, chain: string) =>
      [443, 6443].flatMap((port) => ruleLines(ip, port)).filter((line) => line.includes(`-A ${chain} `));
    const both = (ip: string) => [
      ...of(ip, "PREROUTING"),
      ...of(ip, "OUTPUT").filter((line) => line.startsWith("raw")),
      ...of(ip, "INPUT"),
      ...of(ip, "OUTPUT").filter((line) => line.startsWith("filter")),
    ];
    assertEquals(await state(namespace, backend), [
      `lo ${ADDRESS}/32 scope host`,
      "lo fd00:96::2/128 scope global",
      ...both(ADDRESS),
      ...both("fd00:96::2"),
    ]);
  });

  kernelTest(`${backend}: a rule that stands anywhere in its chain is not moved`, async (namespace) => {
    await runProgram(namespace, flags(backend, ONCE), { backend });
    await namespace.ok([`iptables-${backend}`, "-I", "INPUT", "-s", "192.0.2.3", "-j", "DROP"]);
    const before = await namespace.dump();
    const { code, stderr } = await runProgram(namespace, flags(backend, ONCE), { backend });
    assertEquals(code, 0, stderr);
    assertSameDump(await namespace.dump(), before);
  });

  kernelTest(`${backend}: duplicates of our rules are brought back to one, in their place`, async (namespace) => {
    const path = await toolbox(namespace, { backend });
    await runProgram(namespace, flags(backend, ONCE), { path });
    const before = await namespace.dump();
    const lines = ruleLines().flatMap((line) => {
      const [table, , ...spec] = line.split(" ");
      return [`*${table}`, ...Array.from({ length: 20 }, () => `-A ${spec.join(" ")}`), "COMMIT"];
    });
    await namespace.ok([`iptables-${backend}-restore`, "--noflush"], { stdin: `${lines.join("\n")}\n` });
    const { code, stderr } = await runProgram(namespace, flags(backend, ONCE), { path });
    assertEquals(code, 0, stderr);
    assertSameDump(await namespace.dump(), before);
  });

  kernelTest(`${backend}: a pass starts at most one ip, and one iptables-restore per family`, async (namespace) => {
    const path = await toolbox(namespace, { backend, before: 'echo "${name%%-*}" >> /run/started' });
    const started = async () => (await namespace.ok(["sort", "/run/started"])).split("\n").filter(Boolean);
    await using program = await Program.start(
      namespace,
      [DUAL, "--setup-iptables", `--iptables-mode=${backend}`, "--watch=false", "--sync-interval=1h", "-v=2"],
      { path },
    );
    await program.logged(/(?:Made a pass cause="start"[^]*){2}/);
    const wanted = await state(namespace, backend);
    assertEquals(wanted.length, 2 + 2 * 5, program.stderr);

    const pass = async (number: number) => {
      await namespace.ok(["truncate", "--size=0", "/run/started"]);
      program.kill("SIGHUP");
      // One over the addresses and one over the rules.
      await program.logged(new RegExp(`(Made a pass cause="signal"[^]*){${2 * number}}`));
      return await started();
    };
    assertAtMostOnce(await pass(1));

    await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await namespace.ok(["ip", "address", "del", "fd00:96::2/128", "dev", "lo"]);
    await namespace.ok([`iptables-${backend}`, "-t", "raw", "-F"]);
    await namespace.ok([`ip6tables-${backend}`, "-F"]);
    // The first ip found that something is wrong; the one that repairs is another.
    const repairing = await pass(2);
    assertEquals(repairing.filter((name) => name === "ip").length <= 2, true, `${repairing}`);
    // One for each table in which no rule is left.
    assertEquals(repairing.filter((name) => name === "nft").length, backend === "nft" ? 2 : 0);
    assertAtMostOnce(repairing.filter((name) => !["ip", "nft"].includes(name)));
    assertEquals(await state(namespace, backend), wanted);
    assertEquals((await program.stop()).code, 0);
  });
}

kernelTest("without --setup-iptables no iptables is started or missed", async (namespace) => {
  const before = await namespace.dump();
  for (const without of [/iptables|ip6tables|nft/, undefined]) {
    const path = await toolbox(namespace, {
      ...without && { without },
      before: "echo $name >> /run/started",
    });
    const { code, stderr } = await runProgram(namespace, [`--ip-address=${ADDRESS}`, ONCE, "--cleanup", "-v=2"], {
      path,
    });
    assertEquals(code, 0, stderr);
    assertNotMatch(stderr, /iptables|nft|^[WE]/m);
  }
  assertEquals([...new Set((await namespace.ok(["cat", "/run/started"])).trimEnd().split("\n"))], ["ip"]);
  assertSameDump(await namespace.dump(), before);
});

kernelTest("the scope of the address is that of --address-scope", async (namespace) => {
  const path = await toolbox(namespace);
  await namespace.ok(["ip", "-batch", "-"], {
    stdin: "link add br0 type bridge\nlink set br0 addrgenmode none\n      link set br0 up\n",
  });
  const scopes = [
    ["lo", "host", "host"],
    ["lo", "link", "link"],
    ["lo", "global", "global"],
    ["lo", "auto", "host"],
    ["br0", "auto", "global"],
    ["br0", "host", "host"],
  ] as const;
  for (const [link, flag, scope] of scopes) {
    const { code, stderr } = await runProgram(
      namespace,
      ["--ip-address=240.96.0.2", `--interface=${link}`, `--address-scope=${flag}`, "--deduplicate=true", ONCE],
      { path },
    );
    assertEquals(code, 0, stderr);
    assertEquals(await state(namespace), [`${link} 240.96.0.2/32 scope ${scope}`], `${link} ${flag}`);
  }
});

kernelTest("an address that is there in another form is put right", async (namespace) => {
  const path = await toolbox(namespace);
  const forms = [
    `${ADDRESS}/32 dev lo scope global`,
    `${ADDRESS}/32 dev lo scope host broadcast ${ADDRESS}`,
    `${ADDRESS}/24 dev lo scope host`,
    `${ADDRESS}/32 dev lo scope host valid_lft 1000 preferred_lft 1000`,
  ];
  const { code } = await runProgram(namespace, [`--ip-address=${ADDRESS}`, ONCE], { path });
  assertEquals(code, 0);
  const wanted = await namespace.dump();
  for (const form of forms) {
    await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await namespace.ok(["ip", "address", "add", ...form.split(" ")]);
    const { code, stderr } = await runProgram(namespace, [`--ip-address=${ADDRESS}`, ONCE], { path });
    assertEquals(code, 0, stderr);
    assertSameDump(await namespace.dump(), wanted);
  }
});

kernelTest("an interface that is missing is created, up, and removed with --cleanup", async (namespace) => {
  const before = await namespace.dump();
  const path = await toolbox(namespace, { ip: SCRIPTS.bridgeForDummy });
  const own = [`--ip-address=${ADDRESS},fd00:96::2`, "--interface=nodeproxy"];
  const there = [`nodeproxy ${ADDRESS}/32 scope global`, "nodeproxy fd00:96::2/128 scope global"];
  const { code, stderr } = await runProgram(namespace, [...own, ONCE], { path });
  assertEquals(code, 0, stderr);
  assertEquals(await state(namespace), there);
  const flagsOf = async () => JSON.parse(await namespace.ok(["ip", "-json", "link", "show", "nodeproxy"]))[0].flags;
  assertEquals((await flagsOf()).includes("UP"), true);

  await namespace.ok(["ip", "link", "set", "nodeproxy", "down"]); // which takes the IPv6 address away, too
  assertEquals((await runProgram(namespace, [...own, ONCE], { path })).code, 0);
  assertEquals(await state(namespace), there);
  assertEquals((await flagsOf()).includes("UP"), true);

  // The address left an older interface behind: --deduplicate=auto takes it from there, since this one is ours.
  await namespace.ok(["ip", "address", "add", `${ADDRESS}/32`, "dev", "lo"]);
  assertEquals((await runProgram(namespace, [...own, ONCE], { path })).code, 0);
  assertEquals(await state(namespace), there);

  assertEquals((await runProgram(namespace, [...own, ONCE, "--cleanup"], { path })).code, 0);
  assertSameDump(await namespace.dump(), before);
});

kernelTest("an interface of somebody else is kept, and so is the same address elsewhere", async (namespace) => {
  await namespace.ok(["ip", "-batch", "-"], {
    stdin: `link add br0 type bridge
      link set br0 addrgenmode none\n      link set br0 up
      link add br1 type bridge
      link set br1 addrgenmode none\n      link set br1 up
      address add ${ADDRESS}/32 dev br1\n`,
  });
  const before = await namespace.dump();
  const own = [`--ip-address=${ADDRESS}`, "--interface=br0", ONCE];
  assertEquals((await runProgram(namespace, own)).code, 0);
  assertEquals(await state(namespace), [`br0 ${ADDRESS}/32 scope global`, `br1 ${ADDRESS}/32 scope global`]);
  assertEquals((await runProgram(namespace, [...own, "--cleanup"])).code, 0);
  assertSameDump(await namespace.dump(), before);
});

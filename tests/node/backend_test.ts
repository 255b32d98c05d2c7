import { assertEquals } from "@std/assert";
import { detectBackend, type Detected, hasStrayRules } from "../../lib/node/backend.ts";
import { desired } from "../../lib/desired/desired.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const OPTIONS = { timeout: 10_000 };
const HINTS = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];
const BACKENDS = ["nft", "legacy"] as const;
const FAMILIES = ["iptables", "ip6tables"];
const TO = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";

Deno.test("detectBackend() takes the back end in which the kubelet left a hint, in either family", async () => {
  for (const backend of BACKENDS) {
    for (const family of FAMILIES) {
      for (const hint of HINTS) {
        const state = `${family}-${backend} -t mangle -N ${hint}`;
        assertEquals(await detect(new FakeNode(state)), { backend, certain: true }, state);
      }
    }
  }
});

Deno.test("detectBackend() takes nft when there are hints in both", async () => {
  const node = new FakeNode(
    FAMILIES.flatMap((family) => BACKENDS.map((backend) => `${family}-${backend} -t mangle -N KUBE-IPTABLES-HINT`))
      .join("\n"),
  );
  assertEquals(await detect(node), { backend: "nft", certain: true });
});

Deno.test("detectBackend() takes nft, until there is a hint, when there is none", async () => {
  const state = `
    iptables-legacy -t mangle -N KUBE-IPTABLES
    iptables-legacy -t mangle -N MY-KUBE-IPTABLES-HINT
    iptables-legacy -t filter -A INPUT -m comment --comment ":KUBE-IPTABLES-HINT" -j ACCEPT`;
  assertEquals(await detect(new FakeNode(state)), { backend: "nft", certain: false });
});

Deno.test("detectBackend() takes what is installed when there is no hint", async () => {
  const tools = (backend: string) => FAMILIES.map((family) => `${family}-${backend}-save`);
  const cases: readonly (readonly [readonly string[], Detected["backend"]])[] = [
    [tools("nft"), "legacy"],
    [tools("legacy"), "nft"],
    [[...tools("nft"), ...tools("legacy")], undefined],
    [["ip6tables-nft-save"], "nft"],
    [["iptables-nft-save", ...tools("legacy")], "nft"],
    [[...tools("nft"), "iptables-legacy-save"], "legacy"],
  ];
  for (const [missing, backend] of cases) {
    const node = new FakeNode();
    for (const program of missing) node.missing.add(program);
    assertEquals(await detect(node), { backend, certain: false }, missing.join());
  }
});

Deno.test("detectBackend() finds the hint of one back end when the tools of the other fail or hang", async () => {
  for (const backend of BACKENDS) {
    const other = BACKENDS.find((it) => it !== backend);
    for (const fault of ["fail", "hang", "missing"] as const) {
      const node = new FakeNode(`iptables-${backend} -t mangle -N KUBE-IPTABLES-HINT`);
      for (const family of FAMILIES) {
        if (fault === "fail") node.fail.set(`${family}-${other}-save`, [1, "Permission denied\n"]);
        else node[fault].add(`${family}-${other}-save`);
      }
      assertEquals(await node.clock.until(detect(node)), { backend, certain: true }, `${backend} ${fault}`);
      assertEquals([node.running.size, node.clock.waiting], [0, 0]);
    }
  }
});

Deno.test("detectBackend() is not sure when everything fails, or when it is stopped", async () => {
  const node = new FakeNode("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT");
  for (const family of FAMILIES) for (const it of BACKENDS) node.hang.add(`${family}-${it}-save`);
  assertEquals(await node.clock.until(detect(node)), { backend: "nft", certain: false });
  assertEquals(node.clock.now(), OPTIONS.timeout);
  const stopped = await detectBackend(node, { ...OPTIONS, signal: AbortSignal.abort() });
  assertEquals(stopped, { backend: "nft", certain: false });
});

Deno.test("detectBackend() lists side by side, names no legacy table, and changes nothing", async () => {
  const node = new FakeNode();
  const before = node.dump();
  await detect(node);
  assertEquals(commands(node).toSorted(), [
    "ip6tables-legacy-save",
    "ip6tables-nft-save -t mangle",
    "iptables-legacy-save",
    "iptables-nft-save -t mangle",
  ]);
  assertEquals(node.dump(), before);
});

Deno.test("hasStrayRules() finds any rule of ours", async () => {
  for (const backend of BACKENDS) {
    const all = [
      `iptables-${backend} -t raw -A PREROUTING ${TO} -j NOTRACK`,
      `iptables-${backend} -t raw -A OUTPUT ${TO} -j NOTRACK`,
      `iptables-${backend} -t raw -A OUTPUT -s 10.96.0.2/32 -p tcp -m tcp --sport 443 -j NOTRACK`,
      `iptables-${backend} -t filter -A INPUT ${TO} -j ACCEPT`,
      `ip6tables-${backend} -t raw -A OUTPUT -d fd00::2/128 -p tcp -m tcp --dport 443 -j NOTRACK`,
      `ip6tables-${backend} -t raw -A OUTPUT -d ::10.96.0.2/128 -p tcp -m tcp --dport 443 -j NOTRACK`,
    ];
    for (const state of all) assertEquals(await strays(new FakeNode(state), backend), true, state);
    const modern = new FakeNode();
    modern.modern = true;
    modern.apply(all[0]!);
    assertEquals(await strays(modern, backend), true);
    for (const state of all) {
      const other = BACKENDS.find((it) => it !== backend)!;
      assertEquals(await strays(new FakeNode(state.replace(`-${backend}`, `-${other}`)), backend), false, state);
    }
  }
});

Deno.test("hasStrayRules() finds nothing in other people's rules", async () => {
  const state = `
    iptables-legacy -t raw -A PREROUTING -d 10.96.0.20/32 -p tcp -m tcp --dport 443 -j NOTRACK
    iptables-legacy -t raw -A PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 4430 -j NOTRACK
    iptables-legacy -t raw -A PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j ACCEPT
    ip6tables-legacy -t raw -A PREROUTING -d fd00::3/128 -p tcp -m tcp --dport 443 -j NOTRACK`;
  assertEquals(await strays(new FakeNode(state), "legacy"), false);
});

Deno.test("hasStrayRules() finds nothing when it cannot look", async () => {
  for (const fault of ["missing", "hang", "fail"] as const) {
    const node = new FakeNode(`iptables-legacy -t raw -A PREROUTING ${TO} -j NOTRACK`);
    for (const name of ["iptables-legacy-save", "ip6tables-legacy-save"]) {
      if (fault === "fail") node.fail.set(name, [4, "Permission denied\n"]);
      else node[fault].add(name);
    }
    assertEquals(await node.clock.until(strays(node, "legacy")), false, fault);
  }
});

Deno.test("hasStrayRules() lists what the rules need, and names no legacy table", async () => {
  const { rules } = desired(configOf("--setup-iptables"), "present");
  const listings = {
    nft: ["iptables-nft-save -t filter", "iptables-nft-save -t raw"],
    legacy: ["iptables-legacy-save"],
  };
  for (const backend of BACKENDS) {
    const node = new FakeNode();
    assertEquals(await hasStrayRules(node, rules, backend, OPTIONS), false);
    assertEquals([...new Set(commands(node))].toSorted(), listings[backend]);
    const { length } = node.processes;
    assertEquals(await hasStrayRules(node, [], backend, OPTIONS), false);
    assertEquals(node.processes.length, length);
  }
});

function detect(node: FakeNode): Promise<Detected> {
  return detectBackend(node, OPTIONS);
}

function strays(node: FakeNode, backend: "nft" | "legacy"): Promise<boolean> {
  const config = configOf("--ip-address=fd00::2,::a60:2", "--setup-iptables");
  return hasStrayRules(node, desired(config, "present").rules, backend, OPTIONS);
}

/** The command lines that were started; none of them is told anything. */
function commands(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv, stdin }) => argv.join(" ") + stdin);
}

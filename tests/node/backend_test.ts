import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { detectBackend, findStrays, type FoundBackend } from "../../lib/node/backend.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";

const OPTIONS = { timeout: 10_000 };
const HINTS = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];
const BACKENDS = ["nft", "legacy"] as const;
const FAMILIES = ["iptables", "ip6tables"];

Deno.test("detectBackend() takes the back end in which the kubelet left a hint, in either family", async () => {
  for (const backend of BACKENDS) {
    for (const family of FAMILIES) {
      for (const hint of HINTS) {
        const state = `${family}-${backend} -t mangle -N ${hint}`;
        assertEquals(await detect(new FakeNode(state)), { backend, certainty: "certain" }, state);
      }
    }
  }
});

Deno.test("detectBackend() takes nft when there are hints in both", async () => {
  const node = new FakeNode(
    FAMILIES.flatMap((family) => BACKENDS.map((backend) => `${family}-${backend} -t mangle -N KUBE-IPTABLES-HINT`))
      .join("\n"),
  );
  assertEquals(await detect(node), { backend: "nft", certainty: "certain" });
});

Deno.test("detectBackend() takes nft, until there is a hint, when there is none", async () => {
  const state = `
    iptables-legacy -t mangle -N KUBE-IPTABLES
    iptables-legacy -t mangle -N MY-KUBE-IPTABLES-HINT
    iptables-legacy -t filter -A INPUT -m comment --comment ":KUBE-IPTABLES-HINT" -j ACCEPT`;
  assertEquals(await detect(new FakeNode(state)), { backend: "nft", certainty: "guessed" });
});

Deno.test("detectBackend() takes what is installed when there is no hint", async () => {
  const tools = (backend: string) => FAMILIES.map((family) => `${family}-${backend}-restore`);
  const cases: readonly (readonly [readonly string[], FoundBackend["backend"]])[] = [
    [tools("nft"), "legacy"],
    [tools("legacy"), "nft"],
    [[...tools("nft"), ...tools("legacy")], undefined],
    [["ip6tables-nft-restore"], "nft"],
    [["iptables-nft-restore", ...tools("legacy")], "nft"],
    [[...tools("nft"), "iptables-legacy-restore"], "legacy"],
  ];
  for (const [missing, backend] of cases) {
    const node = new FakeNode();
    for (const program of missing) node.missing.add(program);
    assertEquals(await detect(node), { backend, certainty: "guessed" }, missing.join());
  }
});

Deno.test("detectBackend() finds the hint of one back end when the tools of the other fail or hang", async () => {
  for (const backend of BACKENDS) {
    const other = BACKENDS.find((it) => it !== backend);
    for (const fault of ["fail", "hang", "missing"] as const) {
      const node = new FakeNode(`iptables-${backend} -t mangle -N KUBE-IPTABLES-HINT`);
      for (const family of FAMILIES) {
        for (const what of ["save", "restore"]) {
          if (fault === "fail") node.fail.set(`${family}-${other}-${what}`, [1, "Permission denied\n"]);
          else node[fault].add(`${family}-${other}-${what}`);
        }
      }
      assertEquals(await node.clock.until(detect(node)), { backend, certainty: "certain" }, `${backend} ${fault}`);
      assertEquals([node.running.size, node.clock.waiting], [0, 0]);
    }
  }
});

Deno.test("detectBackend() is not sure when everything fails, or when it is stopped", async () => {
  const node = new FakeNode("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT");
  for (const family of FAMILIES) {
    node.hang.add(`${family}-nft-restore`);
    node.hang.add(`${family}-legacy-save`);
  }
  assertEquals(await node.clock.until(detect(node)), { backend: "nft", certainty: "guessed" });
  assertEquals(node.clock.now(), 2 * OPTIONS.timeout);
  const stopped = await detectBackend(node, { ...OPTIONS, signal: AbortSignal.abort() });
  assertEquals(stopped, { backend: "nft", certainty: "guessed" });
});

Deno.test("detectBackend() asks for the chains by name, names no legacy table that does not exist, and changes nothing", async () => {
  const node = new FakeNode("iptables-legacy -t nat -A PREROUTING -j ACCEPT");
  const before = node.dump();
  await detect(node);
  assertEquals(commands(node).toSorted(), [
    ...["ip6", "ip"].map((family) => `ip -force -batch /proc/net/${family}_tables_names`),
    ...["ip6tables", "iptables"].flatMap((family) =>
      HINTS.map((hint) =>
        `${family}-nft-restore --noflush --verbose --wait=1*mangle\n-S ${hint}\nCOMMIT\n# end of listing\n`
      )
    ),
  ]);
  assertEquals(node.dump(), before);
});

Deno.test("detectBackend() reads of the legacy tables only the one that may hold the hint", async () => {
  const node = new FakeNode(`
    iptables-legacy -t nat -A PREROUTING -j ACCEPT
    iptables-legacy -t mangle -N KUBE-KUBELET-CANARY`);
  assertEquals(await detect(node), { backend: "legacy", certainty: "certain" });
  assertEquals(commands(node).filter((command) => command.includes("legacy")), ["iptables-legacy-save -t mangle"]);
});

Deno.test("detectBackend() does not ask the legacy back end when nft has the hint", async () => {
  const node = new FakeNode("ip6tables-nft -t mangle -N KUBE-IPTABLES-HINT");
  await detect(node);
  assertEquals(node.processes.map(({ argv }) => argv[0]).filter((program) => !program?.includes("nft")), []);
});

Deno.test("detectBackend() reads all legacy tables when it cannot know which there are", async () => {
  const node = new FakeNode("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT");
  node.missing.add("ip");
  assertEquals(await detect(node), { backend: "legacy", certainty: "certain" });
  assertEquals(commands(node).filter((command) => command.includes("legacy")).toSorted(), [
    "ip6tables-legacy-save",
    "iptables-legacy-save",
  ]);
});

function detect(node: FakeNode): Promise<FoundBackend> {
  return detectBackend(node, OPTIONS);
}

/** The command lines that were started, and what they were told. */
function commands(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv, stdin }) => argv.join(" ") + stdin);
}

Deno.test("findStrays() names the other back end when any rule of ours stands in it, and else none", async () => {
  const to = "-d 10.96.0.2/32 -p tcp -m tcp --dport 443";
  for (const [used, other] of [["nft", "legacy"], ["legacy", "nft"]] as const) {
    const strays = [
      `iptables-${other} -t raw -A PREROUTING ${to} -j NOTRACK`,
      `iptables-${other} -t raw -A OUTPUT ${to} -j CT --notrack`,
      `iptables-${other} -t filter -A INPUT ${to} -j ACCEPT`,
      `ip6tables-${other} -t raw -A OUTPUT -d fd00::2/128 -p tcp -m tcp --dport 443 -j NOTRACK`,
      `ip6tables-${other} -t raw -A OUTPUT -d ::10.96.0.2/128 -p tcp -m tcp --dport 443 -j NOTRACK`,
    ];
    for (const state of strays) assertEquals(await strayIn(new FakeNode(state), used), other, state);
    for (const state of strays) assertEquals(await strayIn(new FakeNode(state.replace(other, used)), used), undefined);
    const foreign = strays.map((state) => state.replaceAll("443", "4430")).join("\n");
    assertEquals(await strayIn(new FakeNode(foreign), used), undefined);
  }
});

Deno.test("findStrays() finds nothing when it cannot look, or need not", async () => {
  for (const fault of ["missing", "hang", "fail"] as const) {
    const node = new FakeNode(
      `iptables-legacy -t raw -A PREROUTING -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j NOTRACK`,
    );
    for (const name of ["iptables-legacy-save", "ip6tables-legacy-save"]) {
      if (fault === "fail") node.fail.set(name, [4, "Permission denied\n"]);
      else node[fault].add(name);
    }
    assertEquals(await node.clock.until(strayIn(node, "nft")), undefined, fault);
  }
  const node = new FakeNode();
  assertEquals(await strayIn(node, undefined), undefined);
  assertEquals(await strayIn(node, "nft", "--ip-address=10.96.0.2"), undefined);
  assertEquals(node.processes, []);
});

function strayIn(
  node: FakeNode,
  used: FoundBackend["backend"],
  flags = "--ip-address=10.96.0.2,fd00::2,::a60:2 --setup-iptables",
): Promise<FoundBackend["backend"]> {
  return findStrays(desired(configFrom(flags), "present"), used, { runner: node, commandTimeout: OPTIONS.timeout });
}

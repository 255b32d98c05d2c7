import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import type { Rule } from "../../lib/desired/rules.ts";
import type { Backend } from "../../lib/node/iptables.ts";
import { savedLook } from "../../lib/node/iptables_save.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { FROM, TO } from "../support/texts.ts";

const SPECS = [
  `raw -A PREROUTING ${TO} -j NOTRACK`,
  `raw -A OUTPUT ${TO} -j NOTRACK`,
  `raw -A OUTPUT ${FROM} -j NOTRACK`,
  `filter -A INPUT ${TO} -j ACCEPT`,
  `filter -A OUTPUT ${FROM} -j ACCEPT`,
];

Deno.test("savedLook() finds each rule, in either back end and family", async () => {
  for (const backend of ["nft", "legacy"] as const) {
    for (const [family, ip] of [[4, "10.96.0.2/32"], [6, "fd00::2/128"]] as const) {
      for (const [index, spec] of SPECS.entries()) {
        const node = new FakeNode(
          `ip${family === 6 ? "6" : ""}tables-${backend} -t ${spec.replace("10.96.0.2/32", ip)}`,
        );
        const found = await look(node, { backend, family });
        assertEquals(found, SPECS.map((_, at) => at === index ? "present" : "missing"), spec);
        const other = backend === "nft" ? "legacy" : "nft";
        assertEquals(await look(node, { backend: other, family }), Array(5).fill("missing"));
      }
    }
  }
});

Deno.test("savedLook() counts copies in every spelling, and takes other people's rules for theirs", async () => {
  const node = new FakeNode(`
    iptables-legacy -t raw -A PREROUTING ${TO} -j NOTRACK
    iptables-legacy -t raw -A PREROUTING ${TO} -j CT --notrack
    iptables-legacy -t raw -A OUTPUT -d 10.96.0.20/32 -p tcp -m tcp --dport 443 -j NOTRACK
    iptables-legacy -t filter -A INPUT ${TO} -j DROP`);
  assertEquals(await look(node, { backend: "legacy" }), ["surplus", ...Array(4).fill("missing")]);
});

Deno.test("savedLook() reads the tables that it needs, of the legacy back end those that exist", async () => {
  const names = "ip -force -batch /proc/net/ip_tables_names";
  const nat = "iptables-legacy -t nat -A PREROUTING -j ACCEPT";
  const raw = `${nat}\niptables-legacy -t raw -A OUTPUT -j ACCEPT`;
  const cases: readonly (readonly [string, Backend, boolean, readonly string[]])[] = [
    ["", "nft", false, ["iptables-nft-save -t filter", "iptables-nft-save -t raw"]],
    ["", "legacy", false, [names]],
    [nat, "legacy", false, [names]],
    [raw, "legacy", false, [names, "iptables-legacy-save -t raw"]],
    ["", "legacy", true, ["iptables-legacy-save -t filter", "iptables-legacy-save -t raw"]],
    // The plain names may drive the legacy back end.
    ["", undefined, false, ["iptables-save"]],
  ];
  for (const [state, backend, mayCreate, expected] of cases) {
    const node = new FakeNode(state);
    assertEquals(await look(node, { backend, mayCreate }), Array(5).fill("missing"));
    assertEquals(node.processes.map(({ argv }) => argv.join(" ")).toSorted(), expected);
  }
});

Deno.test("savedLook() reads all that there is when the names of the legacy tables cannot be known", async () => {
  const node = new FakeNode(`iptables-legacy -t ${SPECS[3]}`);
  node.missing.add("ip");
  assertEquals(await look(node, { backend: "legacy" }), SPECS.map((_, at) => at === 3 ? "present" : "missing"));
  assertEquals(node.processes.map(({ argv }) => argv.join(" ")).slice(1), ["iptables-legacy-save"]);
});

Deno.test("savedLook() takes a kernel without ip_tables for one without legacy tables", async () => {
  const node = new FakeNode();
  const text = 'Cannot open file "/proc/net/ip_tables_names" for reading: No such file or directory\n';
  node.fail.set("ip", [1, text]);
  assertEquals(await look(node, { backend: "legacy" }), Array(5).fill("missing"));
  assertEquals(node.processes.length, 1);
});

Deno.test("savedLook() says why it cannot look", async () => {
  for (
    const [fault, kind] of [["missing", "missing-program"], ["hang", "timed-out"], ["fail", "not-permitted"]] as const
  ) {
    const node = new FakeNode(`iptables-legacy -t ${SPECS[0]}`);
    if (fault === "fail") node.fail.set("iptables-legacy-save", [4, "Permission denied\n"]);
    else node[fault].add("iptables-legacy-save");
    const seen = await node.clock.until(savedLook(node, ofFamily(4), { backend: "legacy", timeout: 100 }));
    assertEquals([seen.findings, seen.error?.kind, seen.commands.length], [[], kind, 2]);
  }
});

interface LookOptions {
  readonly backend: Backend;
  readonly family?: 4 | 6;
  readonly mayCreate?: boolean;
}

/** The states of the five rules. */
async function look(node: FakeNode, { family = 4, ...options }: LookOptions): Promise<readonly string[]> {
  const { findings, error } = await savedLook(node, ofFamily(family), { ...options, timeout: 100 });
  assertEquals(error, undefined);
  return findings.map(({ state }) => state);
}

function ofFamily(family: 4 | 6): readonly Rule[] {
  const { rules } = desired(configFrom("--ip-address=10.96.0.2,fd00::2 --setup-iptables"), "present");
  return rules.filter((rule) => rule.family === family);
}

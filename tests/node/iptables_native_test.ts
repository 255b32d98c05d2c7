import { assertEquals } from "@std/assert";
import { type Desired, desired } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { pass, tools } from "../support/passes.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { FROM, TO } from "../support/texts.ts";

const FLAGS = "--ip-address=10.96.0.2 --setup-iptables";
const WANTED = `iptables-nft -t raw -A OUTPUT ${TO} -j NOTRACK
iptables-nft -t raw -A OUTPUT ${FROM} -j NOTRACK
iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK
iptables-nft -t filter -A INPUT ${TO} -j ACCEPT
iptables-nft -t filter -A OUTPUT ${FROM} -j ACCEPT
`;
const INPUT = "nft add rule ip filter INPUT ct state vmap { established : accept, invalid : drop }\n";
const OUTPUT = "nft add rule ip raw OUTPUT ct state vmap { established : accept, invalid : drop }\n";
const LISTED_ALONE = "its chain holds native nftables rules and cannot be listed";

Deno.test("a chain that cannot be listed gets its rules one by one, exactly once over any number of passes", async () => {
  for (const native of [INPUT, OUTPUT, INPUT + OUTPUT]) {
    const node = new FakeNode(native);
    for (let i = 0; i < 3; i++) {
      const report = await keep(node);
      assertEquals([report.ok, node.dump().split("\n").toSorted()], [true, (native + WANTED).split("\n").toSorted()]);
    }
  }
});

Deno.test("a chain that cannot be listed is told of, for its own rules only", async () => {
  const { items } = await keep(new FakeNode(INPUT + WANTED));
  assertEquals(items.map(({ after }) => [after?.state, after?.detail]), [
    ...Array(3).fill(["present", undefined]),
    ["present", LISTED_ALONE],
    ["present", undefined],
  ]);
});

Deno.test("counting copies changes nothing", async () => {
  const node = new FakeNode(INPUT + WANTED);
  const before = node.dump();
  const report = await keep(node, { apply: false });
  assertEquals([report.ok, node.dump()], [true, before]);
  const input = `-D INPUT ${TO} -j ACCEPT\n`;
  const counts = node.processes.map(({ stdin }) => stdin).filter((stdin) => stdin.includes("-D"));
  assertEquals(counts, [1, 2].map((times) => `*filter\n${input.repeat(times)}-S INPUT\n-N INPUT\nCOMMIT\n`));
});

Deno.test("copies in a chain that cannot be listed come back to one, or to none", async () => {
  for (const copies of [2, 3, 15, 16, 40]) {
    for (const want of ["present", "absent"] as const) {
      const node = new FakeNode(INPUT + WANTED);
      for (let copy = 1; copy < copies; copy++) node.apply(`iptables-nft -I INPUT ${TO} -j ACCEPT`);
      const first = await keep(node, { want });
      const { before } = first.items[3] ?? {};
      assertEquals(before?.detail, `${Math.min(copies, 16)} copies; ${LISTED_ALONE}`);
      assertEquals(before?.state, want === "present" ? "surplus" : "present");
      for (let i = 0; i < 3; i++) await keep(node, { want });
      assertEquals(
        node.dump().split("\n").filter((line) => line.includes("-A INPUT")).length,
        want === "present" ? 1 : 0,
      );
    }
  }
});

Deno.test("cleanup removes the rules of a chain that cannot be listed, and says so", async () => {
  const node = new FakeNode(INPUT + OUTPUT + WANTED);
  const report = await keep(node, { want: "absent" });
  assertEquals(report.items.map(({ before, after }) => [before?.state, after?.ok]), Array(5).fill(["present", true]));
  assertEquals(node.dump(), OUTPUT + INPUT);
  assertEquals((await keep(node, { want: "absent" })).ok, true);
  assertEquals(node.dump(), OUTPUT + INPUT);
});

for (const unreadable of ["ct state new accept", "meta skuid 1 accept"]) {
  const native = `nft add rule ip filter INPUT ${unreadable}\n`;

  Deno.test(`next to a rule that iptables cannot read ours stands once over any number of passes: ${unreadable}`, async () => {
    for (const state of ["", native, WANTED + native, native + WANTED]) {
      const node = new FakeNode(state);
      for (let i = 0; i < 3; i++) assertEquals((await keep(node)).ok, true);
      const lines = (state.includes(native) ? native + WANTED : WANTED).split("\n");
      assertEquals(node.dump().split("\n").toSorted(), lines.toSorted());
    }
  });

  Deno.test(`copies above a rule that iptables cannot read come back to one: ${unreadable}`, async () => {
    const node = new FakeNode(WANTED + native);
    node.apply(`iptables-nft -I INPUT ${TO} -j ACCEPT\niptables-nft -I INPUT ${TO} -j ACCEPT`);
    assertEquals((await keep(node)).ok, true);
    assertEquals(node.dump().match(/-A INPUT/g)?.length, 1);
    assertEquals((await keep(node, { want: "absent" })).ok, true);
    assertEquals(node.dump(), native);
  });

  Deno.test(`without nft a rule that iptables cannot read is named, and nothing is done: ${unreadable}`, async () => {
    const node = new FakeNode(native + WANTED);
    node.missing.add("nft");
    const { items } = await keep(node);
    assertEquals(items.map(({ after, error }) => [after?.state, error?.kind]), [
      ...Array(3).fill(["present", undefined]),
      [undefined, "unreadable"],
      ["present", undefined],
    ]);
    assertEquals(
      items[3]?.error?.message,
      "Cannot run iptables-nft-restore: it cannot read a native nftables rule in chain INPUT of table ip filter; " +
        'see "nft list table ip filter", and give these native rules a table of another name',
    );
    assertEquals(node.dump().match(/-A INPUT/g)?.length, 1);
  });

  Deno.test(`below a rule that iptables cannot read nothing can be removed, which is said: ${unreadable}`, async () => {
    const node = new FakeNode(native + WANTED);
    const { items } = await keep(node, { want: "absent" });
    assertEquals(items.map(({ error }) => error?.kind), [...Array(3).fill(undefined), "unreadable", undefined]);
    assertEquals(
      node.dump(),
      `iptables-nft -t filter -A INPUT ${TO} -j ACCEPT\n${native}`.split("\n").toReversed().join("\n").trim() + "\n",
    );
  });
}

Deno.test("a chain that is none of iptables is named, with what helps, and the others get theirs", async () => {
  const node = new FakeNode("nft add chain ip filter INPUT { type filter hook input priority 10; }");
  const { items } = await keep(node);
  assertEquals(items.map(({ after }) => after?.ok), [true, true, true, undefined, true]);
  assertEquals(
    items[3]?.error?.message,
    "Cannot run iptables-nft-restore: chain INPUT of table ip filter was not made by iptables: it has no hook, or another " +
      'hook or priority; see "nft list table ip filter", and give these native rules a table of another name',
  );
});

Deno.test("a chain is listed again as soon as it can be", async () => {
  const node = new FakeNode(INPUT + WANTED);
  assertEquals((await keep(node)).ok, true);
  node.apply("iptables-nft -F INPUT");
  const { length } = node.processes;
  assertEquals((await keep(node)).ok, true);
  assertEquals(node.processes.length, length + 1);
  assertEquals(node.dump(), WANTED);
});

interface KeepOptions {
  readonly want?: Desired["want"];
  readonly apply?: boolean;
}

function keep(node: FakeNode, { want = "present", apply = true }: KeepOptions = {}): Promise<Report> {
  const place = { runner: node, commandTimeout: 2000 };
  return pass(place, tools(place, desired(configFrom(FLAGS), want), { backend: "nft" }).rules, { apply });
}

import { assertEquals, assertThrows } from "@std/assert";
import { type Desired, desired } from "../../lib/desired/desired.ts";
import { type Backend, iptablesProgram, rulesTool } from "../../lib/node/iptables.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { pass, tools } from "../support/passes.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";
import { dumpedRules, FROM, TO } from "../support/texts.ts";

const ARGV = ["iptables-restore", "--noflush", "--verbose", "--wait=1"];
const FLAGS = "--ip-address=10.96.0.2 --setup-iptables";
const LOOK = `*raw
-S PREROUTING
-S OUTPUT
COMMIT
*filter
-S INPUT
-S OUTPUT
COMMIT
# end of listing
`;
const WANTED = dumpedRules("iptables-nft").map((line) => `${line}\n`).join("");

Deno.test("iptablesProgram() names the program of a family and back end", () => {
  assertEquals(
    [
      iptablesProgram("restore", 4, undefined),
      iptablesProgram("restore", 6, undefined),
      iptablesProgram("restore", 4, "nft"),
      iptablesProgram("restore", 6, "legacy"),
      iptablesProgram("save", 6, "nft"),
      iptablesProgram("save", 4, "legacy"),
    ],
    [
      "iptables-restore",
      "ip6tables-restore",
      "iptables-nft-restore",
      "ip6tables-legacy-restore",
      "ip6tables-nft-save",
      "iptables-legacy-save",
    ],
  );
});

Deno.test("rulesTool() puts all rules on top of those of others, in their order, in one process", async () => {
  const foreign = `iptables-nft -t raw -A OUTPUT -p icmp -j ACCEPT
iptables-nft -t raw -A PREROUTING -p icmp -j ACCEPT
iptables-nft -t filter -P INPUT DROP
iptables-nft -t filter -A INPUT -p udp -j ACCEPT
iptables-nft -t filter -A OUTPUT -p udp -j ACCEPT
`;
  const node = new FakeNode(foreign);
  const report = await keep(node);
  assertEquals(node.processes, [{
    argv: ARGV,
    stdin: `${LOOK}*raw
-I OUTPUT ${FROM} -j NOTRACK
-I OUTPUT ${TO} -j NOTRACK
-I PREROUTING ${TO} -j NOTRACK
COMMIT
*filter
-I OUTPUT ${FROM} -j ACCEPT
-I INPUT ${TO} -j ACCEPT
COMMIT
${LOOK}`,
  }]);
  assertEquals(
    node.dump(),
    `iptables-nft -t raw -A OUTPUT ${TO} -j NOTRACK
iptables-nft -t raw -A OUTPUT ${FROM} -j NOTRACK
iptables-nft -t raw -A OUTPUT -p icmp -j ACCEPT
iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK
iptables-nft -t raw -A PREROUTING -p icmp -j ACCEPT
iptables-nft -t filter -P INPUT DROP
iptables-nft -t filter -A INPUT ${TO} -j ACCEPT
iptables-nft -t filter -A INPUT -p udp -j ACCEPT
iptables-nft -t filter -A OUTPUT ${FROM} -j ACCEPT
iptables-nft -t filter -A OUTPUT -p udp -j ACCEPT
`,
  );
  assertEquals(states(report, "before"), Array(5).fill("missing"));
  assertEquals(states(report, "after"), Array(5).fill("present"));
});

Deno.test("rulesTool() only looks when all rules stand, wherever they do", async () => {
  const state = `iptables-nft -t raw -A OUTPUT -p icmp -j ACCEPT
iptables-nft -t raw -A OUTPUT ${FROM} -j NOTRACK
iptables-nft -t raw -A OUTPUT -p udp -j ACCEPT
iptables-nft -t raw -A OUTPUT ${TO} -j NOTRACK
iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK
iptables-nft -t filter -A INPUT -p udp -j ACCEPT
iptables-nft -t filter -A INPUT ${TO} -j ACCEPT
iptables-nft -t filter -A OUTPUT ${FROM} -j ACCEPT
`;
  const node = new FakeNode(state);
  const report = await keep(node);
  assertEquals(node.processes, [{ argv: ARGV, stdin: LOOK }]);
  assertEquals(node.dump(), state);
  assertEquals([report.ok, ...states(report, "before")], [true, ...Array(5).fill("present")]);
});

Deno.test("rulesTool() inserts only the rule that is missing", async () => {
  const node = new FakeNode(WANTED);
  node.apply(`iptables-nft -t raw -D OUTPUT ${FROM} -j NOTRACK`);
  const report = await keep(node);
  assertEquals(node.processes, [{ argv: ARGV, stdin: `${LOOK}*raw\n-I OUTPUT ${FROM} -j NOTRACK\nCOMMIT\n${LOOK}` }]);
  assertEquals(states(report, "before"), ["present", "present", "missing", "present", "present"]);
  assertEquals(states(report, "after"), Array(5).fill("present"));
});

for (const copies of [2, 3, 1000]) {
  Deno.test(`rulesTool() brings ${copies} copies back to one in the topmost's place`, async () => {
    const node = new FakeNode(WANTED);
    node.apply("iptables-nft -t filter -I INPUT -p icmp -j ACCEPT");
    for (let copy = 1; copy < copies; copy++) {
      node.apply(`iptables-nft -t filter -A INPUT -p udp -j ACCEPT
        iptables-nft -t filter -A INPUT ${TO} -j ACCEPT`);
    }
    const report = await keep(node);
    assertEquals(node.processes, [{
      argv: ARGV,
      stdin: `${LOOK}*filter\n${
        `-D INPUT ${TO} -j ACCEPT\n`.repeat(copies)
      }-I INPUT 2 ${TO} -j ACCEPT\nCOMMIT\n${LOOK}`,
    }]);
    assertEquals(
      node.dump(),
      WANTED.replace(
        /.*-A INPUT.*\n/,
        (ours) =>
          `iptables-nft -t filter -A INPUT -p icmp -j ACCEPT\n${ours}` +
          "iptables-nft -t filter -A INPUT -p udp -j ACCEPT\n".repeat(copies - 1),
      ),
    );
    assertEquals(
      report.items.map(({ before }) => before?.detail),
      [undefined, undefined, undefined, `${copies} copies`, undefined],
    );
    assertEquals(report.ok, true);
  });
}

Deno.test("rulesTool() sorts out copies of several rules, and a missing one, in one chain", async () => {
  const node = new FakeNode(
    [
      "-p icmp -j ACCEPT",
      `${FROM} -j NOTRACK`,
      `${TO} -j NOTRACK`,
      "-p udp -j ACCEPT",
      `${TO} -j NOTRACK`,
      `${FROM} -j NOTRACK`,
      "-p sctp -j ACCEPT",
      `${FROM} -j NOTRACK`,
    ].map((spec) => `iptables-nft -t raw -A OUTPUT ${spec}`).join("\n"),
  );
  await keep(node, `${FLAGS} --port=443,444`);
  assertEquals(
    node.dump().split("\n").filter((line) => line.includes("raw -A OUTPUT")),
    [
      "-d 10.96.0.2/32 -p tcp -m tcp --dport 444 -j NOTRACK",
      "-s 10.96.0.2/32 -p tcp -m tcp --sport 444 -j NOTRACK",
      "-p icmp -j ACCEPT",
      `${FROM} -j NOTRACK`,
      `${TO} -j NOTRACK`,
      "-p udp -j ACCEPT",
      "-p sctp -j ACCEPT",
    ].map((spec) => `iptables-nft -t raw -A OUTPUT ${spec}`),
  );
});

Deno.test("rulesTool() knows that the copies of one rule move those of the next", async () => {
  const node = new FakeNode(
    [`${TO} -j NOTRACK`, `${TO} -j NOTRACK`, "-p icmp -j ACCEPT", `${FROM} -j NOTRACK`, `${FROM} -j NOTRACK`]
      .map((spec) => `iptables-nft -t raw -A OUTPUT ${spec}`).join("\n"),
  );
  assertEquals((await keep(node)).ok, true);
  assertEquals(
    node.dump().split("\n").filter((line) => line.includes("raw -A OUTPUT")),
    [`${TO} -j NOTRACK`, "-p icmp -j ACCEPT", `${FROM} -j NOTRACK`].map((spec) =>
      `iptables-nft -t raw -A OUTPUT ${spec}`
    ),
  );
  assertEquals(node.processes.length, 1);
});

Deno.test("rulesTool() takes CT --notrack for NOTRACK, and deletes each copy as it is spelt", async () => {
  const state = WANTED.replaceAll("-j NOTRACK", "-j CT --notrack");
  const node = new FakeNode(state);
  assertEquals((await keep(node)).ok, true);
  assertEquals(node.processes, [{ argv: ARGV, stdin: LOOK }]);
  assertEquals(node.dump(), state);

  node.apply(`iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK`);
  assertEquals((await keep(node)).ok, true);
  assertEquals(
    node.processes[1]?.stdin,
    `${LOOK}*raw
-D PREROUTING ${TO} -j CT --notrack
-D PREROUTING ${TO} -j NOTRACK
-I PREROUTING 1 ${TO} -j NOTRACK
COMMIT
${LOOK}`,
  );
  assertEquals(node.dump(), state.replace(/(PREROUTING .*)CT --notrack/, "$1NOTRACK"));
});

Deno.test("rulesTool() keeps rules with an iptables that prints NOTRACK as CT --notrack", async () => {
  const node = new FakeNode();
  node.modern = true;
  assertEquals((await keep(node)).ok, true);
  node.apply(`iptables-nft -t raw -A PREROUTING ${TO} -j NOTRACK`);
  assertEquals((await keep(node)).ok, true);
  assertEquals((await keep(node)).ok, true);
  assertEquals(node.processes.length, 3);
  assertEquals(node.processes[2]?.stdin, LOOK);
  assertEquals(node.dump(), WANTED.replaceAll("-j NOTRACK", "-j CT --notrack"));
});

Deno.test("rulesTool() takes rules that differ in anything for those of others", async () => {
  const foreign = [
    `${TO} -m comment --comment "apiserver-proxy" -j ACCEPT`,
    `${TO} -m comment --comment ours -j ACCEPT`,
    `-i lo ${TO} -j ACCEPT`,
    "-d 10.96.0.2/31 -p tcp -m tcp --dport 443 -j ACCEPT",
    "-d 10.96.0.20/32 -p tcp -m tcp --dport 443 -j ACCEPT",
    "-d 10.96.0.2/32 -p tcp -m tcp --dport 4430 -j ACCEPT",
    "! -d 10.96.0.2/32 -p tcp -m tcp --dport 443 -j ACCEPT",
    "-d 10.96.0.2/32 -p udp -m udp --dport 443 -j ACCEPT",
    `${TO} -j DROP`,
    `${FROM} -j ACCEPT`,
  ].map((spec) => `iptables-nft -t filter -A INPUT ${spec}\n`).join("");
  for (const [want, expected] of [["present", WANTED], ["absent", ""]] as const) {
    const node = new FakeNode(foreign);
    assertEquals((await keep(node, FLAGS, { want })).ok, true);
    assertEquals(node.dump(), expected === "" ? foreign : expected.replace(/.*-A INPUT.*\n/, (ours) => ours + foreign));
  }
});

Deno.test("rulesTool() recognises IPv6 rules in the form in which ip6tables prints them", async () => {
  const node = new FakeNode();
  const flags = "--ip-address=::1.2.3.4,fd00:96::2 --setup-iptables";
  assertEquals((await keep(node, flags)).ok, true);
  assertEquals((await keep(node, flags)).ok, true);
  assertEquals(node.processes.map(({ argv, stdin }) => [argv[0], stdin.includes("-I")]), [
    ["ip6tables-restore", true],
    ["ip6tables-restore", false],
  ]);
  assertEquals(
    node.dump().split("\n").filter((line) => line.includes("filter")),
    [
      "-A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT",
      "-A INPUT -d fd00:96::2/128 -p tcp -m tcp --dport 443 -j ACCEPT",
      "-A OUTPUT -s ::1.2.3.4/128 -p tcp -m tcp --sport 443 -j ACCEPT",
      "-A OUTPUT -s fd00:96::2/128 -p tcp -m tcp --sport 443 -j ACCEPT",
    ].map((line) => `ip6tables-nft -t filter ${line}`),
  );
  node.apply("ip6tables-nft -A INPUT -d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT");
  assertEquals((await keep(node, flags)).ok, true);
  assertEquals((await keep(node, flags, { want: "absent" })).ok, true);
  assertEquals(node.dump(), "");
});

Deno.test("rulesTool() removes every copy in every spelling, and then only looks", async () => {
  const foreign = "iptables-nft -t raw -A OUTPUT -p icmp -j ACCEPT\n";
  const node = new FakeNode(foreign + WANTED);
  node.apply(`iptables-nft -t raw -A OUTPUT ${TO} -j CT --notrack
    iptables-nft -t raw -I OUTPUT ${TO} -j NOTRACK`);
  const report = await keep(node, FLAGS, { want: "absent" });
  assertEquals(node.processes, [{
    argv: ARGV,
    stdin: `${LOOK}*raw
-D PREROUTING ${TO} -j NOTRACK
-D OUTPUT ${TO} -j NOTRACK
-D OUTPUT ${TO} -j NOTRACK
-D OUTPUT ${TO} -j CT --notrack
-D OUTPUT ${FROM} -j NOTRACK
COMMIT
*filter
-D INPUT ${TO} -j ACCEPT
-D OUTPUT ${FROM} -j ACCEPT
COMMIT
${LOOK}`,
  }]);
  assertEquals(node.dump(), foreign);
  assertEquals([report.ok, report.items[1]?.before?.detail], [true, "3 copies"]);

  assertEquals((await keep(node, FLAGS, { want: "absent" })).ok, true);
  assertEquals(node.processes.slice(1), [{ argv: ARGV, stdin: LOOK }]);
  assertEquals(node.dump(), foreign);
});

Deno.test("rulesTool() keeps rules in the back end that it is told, and leaves the other alone", async () => {
  const node = new FakeNode();
  node.backend = "legacy";
  assertEquals((await keep(node, FLAGS, { backend: "nft" })).ok, true);
  assertEquals(node.dump(), WANTED);
  assertEquals((await keep(node, FLAGS, { backend: "legacy" })).ok, true);
  assertEquals(node.dump(), WANTED + WANTED.replaceAll("-nft", "-legacy"));
  assertEquals((await keep(node, FLAGS, { want: "absent" })).ok, true);
  assertEquals(node.dump(), WANTED);
  assertEquals(node.processes.map(({ argv }) => argv[0]), [
    "iptables-nft-restore",
    "nft",
    "iptables-legacy-restore",
    "iptables-restore",
  ]);
});

Deno.test("rulesTool() has nft make the tables in which nobody has a rule, and says no policy", async () => {
  const foreign = "iptables-nft -t filter -A OUTPUT -p udp -j ACCEPT\n";
  const node = new FakeNode(foreign);
  assertEquals((await keep(node, FLAGS, { backend: "nft" })).ok, true);
  assertEquals(node.processes.slice(1), [{
    argv: ["nft", "--interactive"],
    stdin: "list chain ip raw PREROUTING\nlist chain ip raw OUTPUT\ndescribe tcp dport\n" +
      "create table ip raw\n" +
      "add chain ip raw PREROUTING { type filter hook prerouting priority -300; }; " +
      "add chain ip raw OUTPUT { type filter hook output priority -300; }\n" +
      "describe tcp dport\n",
  }]);
  node.apply(`iptables-nft -t filter -D OUTPUT ${FROM} -j ACCEPT`);
  assertEquals((await keep(node, FLAGS, { backend: "nft" })).ok, true);
  assertEquals((await keep(node, FLAGS, { backend: "nft", want: "absent" })).ok, true);
  assertEquals(node.processes.slice(2).map(({ argv }) => argv[0]), Array(2).fill("iptables-nft-restore"));
  assertEquals(node.dump(), foreign);
});

Deno.test("rulesTool() waits at most a second for nft, and keeps the rules without it", async () => {
  for (const fault of ["hang", "missing"] as const) {
    const node = new FakeNode();
    node[fault].add("nft");
    const report = await node.clock.until(keep(node, FLAGS, { backend: "nft" }));
    assertEquals([report.ok, node.dump(), node.clock.now()], [true, WANTED, fault === "hang" ? 1000 : 0]);
  }
});

Deno.test("rulesTool() sets the rules of the other table when one table is lacking", async () => {
  const node = new FakeNode();
  node.noRawTable = true;
  const report = await keep(node, FLAGS, { backend: "legacy" });
  assertEquals(states(report, "after"), [undefined, undefined, undefined, "present", "present"]);
  assertEquals(node.dump(), WANTED.replaceAll(/.*raw.*\n/g, "").replaceAll("-nft", "-legacy"));
  const [first] = report.items;
  assertEquals(first?.error?.stderr.includes("iptables-restore: unable to initialize table 'raw'"), true);
  assertEquals(report.items.map(({ error }) => error?.kind), [...Array(3).fill("no-table"), undefined, undefined]);
});

for (const backend of ["nft", "legacy"] as const) {
  Deno.test(`rulesTool() sets the other rules when ${backend} lacks NOTRACK`, async () => {
    const node = new FakeNode();
    node.noNotrack = true;
    const report = await keep(node, FLAGS, { backend });
    assertEquals(states(report, "after"), [undefined, undefined, undefined, "present", "present"]);
    assertEquals(report.items.map(({ error }) => error?.kind), [...Array(3).fill("unsupported"), undefined, undefined]);
    assertEquals(node.dump(), WANTED.replaceAll(/.*raw.*\n/g, "").replaceAll("-nft", `-${backend}`));
  });

  Deno.test(`rulesTool() sets the other rules when ${backend} refuses one`, async () => {
    const node = new FakeNode();
    node.refuse.push([/-I OUTPUT -s .*NOTRACK/, "Invalid argument"]);
    const report = await keep(node, FLAGS, { backend });
    assertEquals(states(report, "after"), ["present", "present", undefined, "present", "present"]);
    assertEquals(
      node.dump(),
      WANTED.replace(`iptables-nft -t raw -A OUTPUT ${FROM} -j NOTRACK\n`, "").replaceAll("-nft", `-${backend}`),
    );
    const kind = backend === "nft" ? "other" : "unexplained";
    assertEquals(report.items.map(({ error }) => error?.kind), [undefined, undefined, kind, undefined, undefined]);
  });

  Deno.test(`rulesTool() removes the other rules when ${backend} refuses to delete one`, async () => {
    const node = new FakeNode(WANTED.replaceAll("-nft", `-${backend}`));
    node.refuse.push([/-D INPUT/, "Invalid argument"]);
    const report = await keep(node, FLAGS, { backend, want: "absent" });
    assertEquals(report.items.map(({ after }) => after?.ok), [true, true, true, undefined, true]);
    assertEquals(node.dump(), `iptables-${backend} -t filter -A INPUT ${TO} -j ACCEPT\n`);
  });
}

Deno.test("rulesTool() changes nothing of a transaction that fails", async () => {
  const node = new FakeNode(WANTED);
  node.apply(`iptables-nft -A INPUT ${TO} -j ACCEPT\niptables-nft -A INPUT ${TO} -j ACCEPT`);
  const before = node.dump();
  node.refuse.push([/-I INPUT/, "Invalid argument"]);
  const report = await keep(node);
  assertEquals(node.dump(), before);
  assertEquals(report.ok, false);
});

Deno.test("rulesTool() does not try its parts when the lock is held, and names the lock", async () => {
  const node = new FakeNode();
  node.lockedUntil = 3000;
  const report = await node.clock.until(keep(node, FLAGS, { backend: "legacy" }));
  assertEquals(node.processes, [{
    argv: ["iptables-legacy-restore", "--noflush", "--verbose", "--wait=1"],
    stdin: LOOK,
  }]);
  assertEquals(node.clock.now(), 1000);
  assertEquals(
    report.items.map(({ error }) => [error?.kind, error?.message]),
    Array(5).fill([
      "locked",
      "Cannot run iptables-legacy-restore: Can't lock /run/xtables.lock: Resource temporarily unavailable; " +
      "Another app is currently holding the xtables lock. Stopped waiting after 1s.; " +
      "another program holds the xtables lock",
    ]),
  );
  assertEquals(node.dump(), "");
});

Deno.test("rulesTool() lets the families take turns at the lock, which nft has not", async () => {
  for (const backend of ["nft", "legacy", undefined] as const) {
    const node = new FakeNode();
    /** What each process had been told when the next one was started. */
    const told: number[] = [];
    const runner = {
      start: (...args: Parameters<FakeNode["start"]>) => {
        // What nft makes is made while its family waits.
        if (args[0][0] !== "nft") {
          told.push(...node.processes.slice(-1).map(({ stdin }) => stdin.split("COMMIT").length - 1));
        }
        return node.start(...args);
      },
    };
    const place = { runner, commandTimeout: 2000 };
    const flags = "--ip-address=10.96.0.2,fd00:96::2 --setup-iptables";
    const report = await pass(place, tools(place, desired(configFrom(flags), "present"), { backend }).rules);
    assertEquals([report.ok, told], [true, [backend === "nft" ? 2 : 6]], backend);
  }
});

Deno.test("rulesTool() says which right is lacking", async () => {
  const remedy = /CAP_NET_ADMIN/;
  for (const backend of ["nft", "legacy"] as const) {
    const node = new FakeNode();
    node.notPermitted = true;
    const { items } = await keep(node, FLAGS, { backend });
    assertEquals(
      items.map(({ error }) => remedy.test(error?.message ?? "")),
      Array(5).fill(true),
      items[0]?.error?.message,
    );
  }
});

Deno.test("rulesTool() says what to do when the lock file cannot be opened", async () => {
  const node = new FakeNode();
  node.readOnlyRun = true;
  const { items } = await keep(node, FLAGS, { backend: "legacy" });
  assertEquals(
    items[0]?.error?.message,
    "Cannot run iptables-legacy-restore: Fatal: can't open lock file /run/xtables.lock: Read-only file system; " +
      "mount the node's /run/xtables.lock into the container, writable: hostPath, type FileOrCreate",
  );
  assertEquals(node.processes.length, 1);
});

Deno.test("rulesTool() cannot judge a listing that lacks a chain, or has another", () => {
  const rules = desired(configFrom(FLAGS), "present").rules;
  const tool = rulesTool(rules, { family: 4, backend: undefined, want: "present", lockWait: 1 });
  const whole = "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-P INPUT DROP\n-P OUTPUT ACCEPT\n# end of listing\n";
  assertEquals(tool.judge(whole).map(({ state }) => state), Array(5).fill("missing"));
  assertThrows(
    () => tool.judge(whole.replace("-P INPUT DROP\n", "")),
    SyntaxError,
    "Cannot read the listing of iptables: 2 chains instead of 4",
  );
  assertThrows(
    () => tool.judge("-P PREROUTING ACCEPT\n# end of listing\n"),
    SyntaxError,
    "Cannot read the listing of iptables: 1 chains instead of 4",
  );
});

interface KeepOptions {
  readonly want?: Desired["want"];
  readonly backend?: Backend;
}

function keep(node: FakeNode, flags = FLAGS, { want = "present", backend }: KeepOptions = {}): Promise<Report> {
  const place = { runner: node, commandTimeout: 2000 };
  return pass(place, tools(place, desired(configFrom(flags), want), { backend }).rules);
}

function states({ items }: Report, when: "before" | "after"): readonly unknown[] {
  return items.map((item) => item[when]?.state);
}

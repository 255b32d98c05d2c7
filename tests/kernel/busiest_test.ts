/**
 * The promise on the nodes of large clusters: what is lost comes back, by events or by looks and with no interval to wait for,
 * however many rules, links and addresses others have there and whatever they do with them.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertTidy,
  type Backend,
  BACKENDS,
  flags,
  Program,
  ruleLines,
  runProgram,
  toolbox,
} from "../support/program.ts";

/** Chains of others, with a rule each. */
const CHAINS = { nft: 20_000, legacy: 4000 } as const;
/** Made at once: a transaction of nft is one message, whose size is limited where one is not root. */
const PIECE = 250;
const KUBELET = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
/** No event and no look may wait for it. */
const NEVER = "--sync-interval=1h";
/** What a watcher that does not stay up is told of by. */
const WATCHER_TROUBLE = /A watcher ended|Nothing tells of events/;

/** What iptables-restore takes for some chains of others; the rule in each can be told from an earlier one. */
function* foreignChains(count: number, generation = 0): Generator<string> {
  for (let from = 0; from < count; from += PIECE) {
    const names = Array.from({ length: PIECE }, (_, i) => `KUBE-SVC-${from + i}`);
    const rules = names.map((name) => `-A ${name} -p tcp -m tcp --dport ${1 + generation} -j RETURN`);
    yield ["*nat", ...names.map((name) => `:${name} - [0:0]`), ...rules, "COMMIT\n"].join("\n");
  }
}

async function restore(namespace: Namespace, backend: Backend, scripts: Iterable<string>): Promise<void> {
  for (const stdin of scripts) await namespace.ok([`iptables-${backend}-restore`, "--noflush"], { stdin });
}

/** Links of others, with addresses on the first of them. */
async function addLinks(namespace: Namespace, links: number, addresses: number): Promise<void> {
  const lines = [
    ...Array.from({ length: links }, (_, i) => `link add pod${i} type bridge\n`),
    ...Array.from({ length: addresses }, (_, i) => `address add 10.${100 + (i >> 8)}.0.${i & 255}/32 dev pod0\n`),
  ];
  await namespace.ok(["ip", "-batch", "-"], { stdin: lines.join("") });
}

/** Our rules, by commands that do not read those of others. */
async function found(namespace: Namespace, backend: Backend): Promise<readonly string[]> {
  const listings = await Promise.all(["raw", "filter"].map(async (table) => {
    const { stdout } = await namespace.run([`iptables-${backend}`, "--wait", "-t", table, "-S"]);
    return stdout.replaceAll("CT --notrack", "NOTRACK").split("\n").filter((line) => line.includes(`${ADDRESS}/32`))
      .map((line) => `${table} ${line}`);
  }));
  return listings.flat().toSorted();
}

/** Waits until each rule is there once. */
function whole(program: Program, namespace: Namespace, backend: Backend, what: string): Promise<void> {
  return program.until(async () => assertEquals(await found(namespace, backend), ruleLines().toSorted(), what));
}

/** Adds a rule of others all the time, until it is disposed of. */
function churn(namespace: Namespace): AsyncDisposable {
  const script = "iptables-nft -t nat -N CHURN; while read -r -t 0.1; [ $? -gt 128 ]; do " +
    "iptables-nft -t nat -A CHURN -s 192.0.2.1 -j RETURN || exit; done";
  const child = namespace.spawn(["bash", "-c", script], { stdin: "piped" });
  return {
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      assertEquals((await child.status).code, 0, "Nobody changed anything meanwhile");
    },
  };
}

kernelTest(
  "nft: among 20,000 chains of others each loss is repaired, at rest and while they change",
  async (namespace) => {
    await namespace.ok(["iptables-nft-restore", "--noflush"], { stdin: KUBELET });
    await restore(namespace, "nft", foreignChains(CHAINS.nft));
    const saved = await namespace.ok(["sh", "-c", "iptables-nft-save -t raw; iptables-nft-save -t filter"]);
    const path = await toolbox(namespace);
    const changing = churn(namespace);
    await using program = await Program.start(namespace, [`--ip-address=${ADDRESS}`, "--setup-iptables", NEVER], {
      path,
    });
    const back = (what: string) => whole(program, namespace, "nft", what);
    const loseEach = async (when: string) => {
      for (const line of ruleLines()) {
        const [table = "", , ...spec] = line.split(" ");
        await namespace.ok(["iptables-nft", "-t", table, "-D", ...spec]);
        await back(`${line}, ${when}`);
      }
    };
    await back("the first set-up, while others change theirs");
    await loseEach("right after the start, while others change theirs");
    await changing[Symbol.asyncDispose]();
    await loseEach("at rest");
    await namespace.ok(["iptables-nft-restore"], { stdin: saved });
    await back("a reload of what was there before");
    // kube-proxy syncs everything, and the loss is the last that happens.
    await restore(namespace, "nft", foreignChains(CHAINS.nft, 1));
    await namespace.ok(["iptables-nft", "-t", "raw", "-F"]);
    await back("a loss at the end of a storm");
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertEquals(stderr.split("\n").filter((line) => WATCHER_TROUBLE.test(line)), []);
  },
);

kernelTest("legacy: among thousands of chains of others each loss is repaired", async (namespace) => {
  await restore(namespace, "legacy", [KUBELET, ...foreignChains(CHAINS.legacy)]);
  const path = await toolbox(namespace, { backend: "legacy" });
  await using program = await Program.start(namespace, flags("legacy", NEVER), { path, backend: "legacy" });
  await whole(program, namespace, "legacy", "the first set-up");
  for (const table of ["raw", "filter"]) {
    await namespace.ok(["iptables-legacy", "--wait", "-t", table, "-F"]);
    await whole(program, namespace, "legacy", table);
  }
  const { code, stderr } = await program.stop();
  assertEquals(code, 0, stderr);
});

kernelTest(
  "with rules of both families and more rules than nft monitor may hold, losses are repaired",
  async (namespace) => {
    await restore(namespace, "nft", [KUBELET, ...foreignChains(CHAINS.nft)]);
    const argv = flags("nft", "--ip-address=fd00:96::2", NEVER);
    await using program = await Program.start(namespace, argv, { path: await toolbox(namespace) });
    await whole(program, namespace, "nft", "the first set-up");
    for (const table of ["raw", "filter"]) {
      for (const program of ["iptables-nft", "ip6tables-nft"]) await namespace.ok([program, "-t", table, "-F"]);
      await whole(program, namespace, "nft", table);
      await program.until(async () => {
        const six = await namespace.ok(["ip6tables-nft", "-t", table, "-S"]);
        assertEquals(six.split("fd00:96::2/128").length - 1, table === "raw" ? 3 : 2, six);
      });
    }
    assertEquals((await program.stop()).code, 0);
  },
);

for (const backend of BACKENDS) {
  kernelTest(`${backend}: one pass asks the same, however much others have on the node`, async (namespace) => {
    const asked = async () => {
      const path = await toolbox(namespace, { backend });
      const { code, stderr } = await runProgram(
        namespace,
        [`--ip-address=${ADDRESS}`, "--setup-iptables", "--daemon=false", "-v=6"],
        { path, backend },
      );
      assertEquals(code, 0, stderr);
      return [...stderr.matchAll(/ (?:Telling|Ran) a command (command="[^"]*"(?: stdin="[^"]*")?)/g)]
        .map(([, what]) => what).toSorted();
    };
    await restore(namespace, backend, [KUBELET]);
    await asked(); // the first one has something to do
    const few = await asked();
    assert(few.length >= 2, few.join("\n"));
    await restore(namespace, backend, foreignChains(CHAINS[backend]));
    await addLinks(namespace, 100, 5000);
    assertEquals(await asked(), few);
  });
}

kernelTest("among 1,000 links and 5,000 addresses of others a lost address comes back", async (namespace) => {
  await addLinks(namespace, 1000, 5000);
  await using program = await Program.start(namespace, [`--ip-address=${ADDRESS}`, NEVER]);
  const there = () =>
    program.until(async () => {
      const listing = await namespace.ok(["ip", "-oneline", "address", "show", "dev", "lo", "to", ADDRESS]);
      assertEquals(listing.trimEnd().split(/\s+/).slice(1, 4), ["lo", "inet", `${ADDRESS}/32`]);
    });
  await there();
  for (let loss = 0; loss < 3; loss++) {
    await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await there();
  }
  assertEquals((await program.stop()).code, 0);
});

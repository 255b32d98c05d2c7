import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { prometheusObstacle, promtool } from "../support/prometheus.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  flags,
  Program,
  runProgram,
  toolbox,
  WANTED,
} from "../support/program.ts";

const METRICS = "http://127.0.0.1:9100/metrics";
const READY = "http://127.0.0.1:9100/readyz";
const SERVE = ["--metrics-bind-address=9100", "--health-probe-bind-address=:9100"];
/** No watchers and no interval: passes are made when the test asks for one. */
const QUIET = ["--watch=false", "--sync-interval=1h"];

/** 100 ms that the loop leaves between passes, and 100 ms for a repair while both cores are busy. */
const BUSY_REPAIR = "0.25";

function visitor(...args: string[]): string[] {
  const script = new URL("../support/visitor.ts", import.meta.url).pathname;
  return [Deno.execPath(), "run", "--quiet", "-P=test", script, ...args];
}

/** Asks from inside; gives the status and the body. */
function ask(namespace: Namespace, url: string, method = "GET"): Promise<string> {
  return namespace.ok(visitor("ask", method, url));
}

/** Lets somebody come who stays; gives what sends him away. */
async function visit(namespace: Namespace, what: string): Promise<AsyncDisposable> {
  const child = namespace.spawn(visitor(what, "9100"), { stdin: "null", stdout: "piped", stderr: "inherit" });
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "at it\n");
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    },
  };
}

/** The sockets that listen. */
async function listening(namespace: Namespace): Promise<string[]> {
  const lines = (await namespace.ok(["ss", "--no-header", "--listening", "--tcp", "--numeric"])).trim().split("\n");
  return lines.filter((line) => line !== "").map((line) => line.split(/\s+/)[3] ?? "").toSorted();
}

kernelTest("nothing listens unless it is asked for, and one pass never does", async (namespace) => {
  await using program = await Program.start(namespace, flags("nft"));
  await program.reached(namespace, WANTED);
  assertEquals(await listening(namespace), []);
  assertEquals((await program.stop()).code, 0);
  const { code, stderr } = await runProgram(namespace, flags("nft", "--daemon=false", ...SERVE));
  assertEquals([code, /Listening/.test(stderr)], [0, false]);
});

kernelTest("it listens where it is asked to, once if both addresses are equal, on IPv6 too", async (namespace) => {
  const starts = [
    [SERVE, ["127.0.0.1:9100"]],
    [["--metrics-bind-address=[::1]:9100", "--health-probe-bind-address=9101"], ["127.0.0.1:9101", "[::1]:9100"]],
  ] as const;
  for (const [asked, sockets] of starts) {
    await using program = await Program.start(namespace, [`--ip-address=${ADDRESS}`, ...asked]);
    await program.logged(/Added address|Listening.*\n.*Listening/);
    assertEquals(await listening(namespace), [...sockets]);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
  }
});

kernelTest("a port that is taken ends it with 1 and one clear line, before it touches anything", async (namespace) => {
  const before = await namespace.dump();
  await using _holder = await visit(namespace, "hold");
  const { code, stderr } = await runProgram(namespace, flags("nft", "--cleanup", "--metrics-bind-address=9100"));
  assertEquals(code, 1);
  assertEquals(stderr.match(/^[EW].*] (.*)$/gm)?.map((line) => line.replace(/^.*?] /, "")), [
    "Cannot listen on --metrics-bind-address=127.0.0.1:9100: another program listens there: choose another port, " +
    "or end that program (ss -ltnp names it)",
  ]);
  assertTidy(stderr);
  assertSameDump(await namespace.dump(), before);
});

kernelTest("/readyz follows a loss that cannot be put right, and its end; /healthz does not", async (namespace) => {
  const path = await toolbox(namespace, {
    restore: `if [ -e /run/broken ]; then echo 'Permission denied' >&2; exit 4; fi; exec "$real" "$@"`,
  });
  await using program = await Program.start(namespace, flags("nft", ...QUIET, ...SERVE), { path });
  await program.reached(namespace, WANTED);
  await program.until(async () => assertMatch(await ask(namespace, READY), /^200 [^]*\nok: rule: 5 of 5 present\n$/));
  await namespace.ok(["touch", "/run/broken"]);
  // One pass may still get what was started before.
  await program.until(async () => {
    program.kill("SIGHUP");
    assertMatch(await ask(namespace, READY), /^503 [^]*\nfailed: rule: 0 of 5 present\n$/);
  });
  assertMatch(await ask(namespace, READY.replace("readyz", "healthz")), /^200 ok: addresses: /);
  assertMatch(await ask(namespace, METRICS), /^apiserver_proxy_sidecar_present_items\{kind="rule"\} 0$/m);
  await namespace.ok(["rm", "/run/broken"]);
  await program.until(async () => {
    program.kill("SIGHUP");
    assertMatch(await ask(namespace, READY), /^200 /);
  });
  assertEquals((await program.stop()).code, 0);
});

kernelTest(
  "/readyz fails from the first signal on, through the cleanup, which /metrics outlives",
  async (namespace) => {
    const before = await namespace.dump();
    const path = await toolbox(namespace, { before: "while [ -e /run/wait ]; do sleep 0.01; done" });
    await using program = await Program.start(namespace, flags("nft", ...QUIET, ...SERVE, "--cleanup"), { path });
    await program.reached(namespace, WANTED);
    await program.until(async () => assertMatch(await ask(namespace, READY), /^200 /));
    await namespace.ok(["touch", "/run/wait"]);
    program.kill("SIGTERM");
    await program.until(async () => assertMatch(await ask(namespace, READY), /^503 failed: stop: asked for\n/));
    assertMatch(await ask(namespace, METRICS), /^200 # HELP /);
    await namespace.ok(["rm", "/run/wait"]);
    const { code, stderr } = await program.end();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  },
);

kernelTest("/metrics tells which watchers listen, and which were started again", async (namespace) => {
  await using program = await Program.start(namespace, flags("nft", ...SERVE));
  await program.reached(namespace, WANTED);
  const told = (name: string) =>
    ask(namespace, METRICS).then((page) =>
      [...page.matchAll(new RegExp(`_watcher_${name}{program="(.*?)"} 1$`, "gm"))].map(([, program]) => program)
    );
  await program.until(async () => assertEquals((await told("listening")).length, 2));
  const [, ofRules] = await told("listening");
  const monitor = (await children(program.pid)).find(({ command }) => new RegExp(`^(?:.*/)?${ofRules} `).test(command));
  Deno.kill(monitor?.pid ?? 0, "SIGKILL");
  await program.until(async () => assertEquals(await told("restarts_total"), [ofRules]));
  // The same one, or another that stands in for it.
  await program.until(async () => assertMatch((await told("listening")).join(), /^ip,(nft|xtables-monitor)$/));
  assertEquals((await program.stop()).code, 0);
});

/** The processes that a process has started. */
async function children(parent: number): Promise<readonly { readonly pid: number; readonly command: string }[]> {
  const threads = await Array.fromAsync(Deno.readDir(`/proc/${parent}/task`));
  const lists = await Promise.all(
    threads.map(({ name }) => Deno.readTextFile(`/proc/${parent}/task/${name}/children`).catch(() => "")),
  );
  const pids = lists.join(" ").split(" ").filter(Boolean).map(Number);
  return await Promise.all(pids.map(async (pid) => ({
    pid,
    command: (await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "")).replaceAll("\0", " "),
  })));
}

for (const load of ["idle", "slow", "huge", "scrape"]) {
  kernelTest(`visitors that are ${load} delay no repair, no probe and no stop`, async (namespace) => {
    await using program = await Program.start(namespace, flags("nft", ...SERVE));
    await program.reached(namespace, WANTED);
    await program.until(async () => assertMatch(await ask(namespace, READY), /^200 /));
    await using _visitor = await visit(namespace, load);
    // Few enough that nobody takes it for a fight.
    for (let i = 0; i < 3; i++) {
      await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
      await program.reached(namespace, WANTED);
    }
    const page = await ask(namespace, METRICS);
    const latencies = page.split("\n").filter((line) => line.includes("_repair_latency_seconds_")).join("\n");
    assertMatch(latencies, new RegExp(`{le="${BUSY_REPAIR}"} 3\n`));
    assertMatch(await ask(namespace, READY), /^200 /);
    const descriptors = await Array.fromAsync(Deno.readDir(`/proc/${program.pid}/fd`));
    assertLess(descriptors.length, 100);
    const started = performance.now();
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertLess(performance.now() - started, 1000);
    assertTidy(stderr);
    assertEquals(stderr.match(/^[EW].*/gm), null);
  });
}

const obstacle = prometheusObstacle();
const skipped = obstacle === "" ? "" : ` (skipped: ${obstacle})`;

kernelTest(`a Prometheus server scrapes it, and promtool likes what it gets${skipped}`, async (namespace) => {
  await using program = await Program.start(namespace, flags("nft", ...SERVE));
  await program.reached(namespace, WANTED);
  const page = (await ask(namespace, METRICS)).replace("200 ", "");
  assertEquals(await promtool(["check", "metrics"], page), { code: 0, said: "" });

  const directory = await Deno.makeTempDir();
  const over = new AbortController();
  try {
    await Deno.writeTextFile(
      `${directory}/prometheus.yml`,
      `{global: {scrape_interval: 200ms}, rule_files: [${
        new URL("../../deploy/alerts.yaml", import.meta.url).pathname
      }], ` +
        "scrape_configs: [{job_name: node, static_configs: [{targets: ['127.0.0.1:9100']}]}]}",
    );
    const server = namespace.run([
      "prometheus",
      `--config.file=${directory}/prometheus.yml`,
      `--storage.tsdb.path=${directory}/data`,
      "--web.listen-address=127.0.0.1:9090",
    ], { signal: over.signal });
    const query = async (expression: string) => {
      const answer = await namespace.run(["promtool", "query", "instant", "http://127.0.0.1:9090", expression]);
      return answer.stdout.replaceAll(/ @\[.*\]$/gm, "").trim().split("\n").toSorted();
    };
    await program.until(async () => {
      assertEquals(await query("sum by (job, kind) (apiserver_proxy_sidecar_present_items)"), [
        '{job="node", kind="address"} => 1',
        '{job="node", kind="link"} => 1',
        '{job="node", kind="rule"} => 5',
      ]);
    });
    assertEquals(await query("up"), ['up{instance="127.0.0.1:9100", job="node"} => 1']);
    over.abort();
    const { stderr } = await server;
    assert(!/level=error/.test(stderr), stderr);
  } finally {
    over.abort();
    await Deno.remove(directory, { recursive: true });
  }
}, obstacle === "" ? {} : { ignore: true });

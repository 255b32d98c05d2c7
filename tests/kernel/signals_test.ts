import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  BACKENDS,
  flags,
  hanging,
  Program,
  SCRIPTS,
  state,
  toolbox,
  WANTED,
} from "../support/program.ts";

/** What "at once" is at most, on a machine that has other work. */
const AT_ONCE_MS = 3000;
/** No watchers and no interval: what happens is the signal's doing. */
const QUIET = ["--watch=false", "--sync-interval=1h"];

async function timed<T>(act: () => Promise<T>): Promise<{ result: T; ms: number }> {
  const started = performance.now();
  const result = await act();
  return { result, ms: performance.now() - started };
}

async function startsHanging(program: Program, namespace: Namespace): Promise<void> {
  await program.until(async () => assert((await hanging(namespace)).length > 0, "No tool hangs yet"));
}

/** Ends what a program left that had no time to wait for it. */
async function endHanging(namespace: Namespace): Promise<void> {
  for (const pid of await hanging(namespace)) await namespace.run(["kill", "-KILL", `${pid}`]);
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  kernelTest(`${signal} in the wait ends the daemon with 0 and leaves all in place`, async (namespace) => {
    await using program = await Program.start(namespace, flags("nft", ...QUIET));
    await program.reached(namespace, WANTED);
    const before = await namespace.dump();
    const { result: { code, stdout, stderr }, ms } = await timed(() => program.stop(signal));
    assertEquals([code, stdout], [0, ""], stderr);
    assertLess(ms, AT_ONCE_MS);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  });
}

for (const hang of ["hang", "hangHard"] as const) {
  kernelTest(`SIGTERM ends the daemon and the iptables that hangs (${hang})`, async (namespace) => {
    const path = await toolbox(namespace, { restore: SCRIPTS[hang] });
    await using program = await Program.start(namespace, flags("nft", ...QUIET), { path });
    await startsHanging(program, namespace);
    const { result: { code, stderr }, ms } = await timed(() => program.stop());
    assertEquals(code, 0, stderr);
    assertLess(ms, AT_ONCE_MS);
    assertTidy(stderr);
    assertEquals(await hanging(namespace), []);
  });
}

kernelTest("SIGTERM ends an ip that hangs", async (namespace) => {
  const path = await toolbox(namespace, { ip: SCRIPTS.hangHard });
  await using program = await Program.start(namespace, flags("nft", ...QUIET), { path });
  await startsHanging(program, namespace);
  const { result: { code, stderr }, ms } = await timed(() => program.stop());
  assertEquals(code, 0, stderr);
  assertLess(ms, AT_ONCE_MS);
  assertEquals(await hanging(namespace), []);
});

for (const name of ["ip", "iptables-nft-restore", "xtables-monitor", "stdbuf", "prlimit", "ss"]) {
  kernelTest(`SIGTERM ends the daemon that looks for its back end while ${name} hangs`, async (namespace) => {
    const isOld = name === "stdbuf" || name === "prlimit";
    const before = [
      `[ $name != ${name} ] || { echo $$ >> /run/hanging; trap '' TERM; exec sleep 60; }`,
      // From 1.8.11 on nobody needs stdbuf, or nft monitor, and prlimit for it.
      ...isOld ? ["[ $name != xtables-monitor ] || { echo xtables-monitor v1.8.9; exit; }"] : [],
    ].join("\n");
    const path = await toolbox(namespace, { before, ...name === "prlimit" && { without: /^stdbuf$/ } });
    const argv = flags("nft", "--iptables-mode=auto", "--sync-interval=1h", "--cleanup");
    await using program = await Program.start(namespace, argv, { path });
    await startsHanging(program, namespace);
    const { result: { code, stderr }, ms } = await timed(() => program.stop());
    // Cleanup needs what hangs here.
    assertEquals([code === 0, code === 1 && /ip|restore/.test(name)].includes(true), true, `${code}: ${stderr}`);
    assertLess(ms, 10_000 + AT_ONCE_MS);
    assertEquals(await hanging(namespace), []);
  });
}

kernelTest(
  "SIGTERM at any moment of the first pass ends it with 0, and --cleanup leaves nothing",
  async (namespace) => {
    const before = await namespace.dump();
    const path = await toolbox(namespace, { before: "echo $name >> /run/started" });
    const started = async (name: RegExp) => assertMatch((await namespace.run(["cat", "/run/started"])).stdout, name);
    const moments: ((program: Program) => Promise<void>)[] = [
      (program) => program.logged(/Started/),
      (program) => program.until(() => started(/./)),
      (program) => program.until(() => started(/^ip6?tables.*restore$/m)),
      (program) => program.until(async () => assert((await state(namespace)).length > 0)),
      (program) => program.logged(/Added rule/),
    ];
    for (const moment of moments) {
      await using program = await Program.start(namespace, flags("nft", ...QUIET, "--cleanup"), { path });
      await moment(program);
      const { code, stderr } = await program.stop();
      assertEquals(code, 0, stderr);
      assertTidy(stderr);
      assertSameDump(await namespace.dump(), before);
      await namespace.ok(["rm", "--force", "/run/started"]);
    }
  },
);

kernelTest("a second SIGTERM, or SIGINT, ends it at once with 1", async (namespace) => {
  const path = await toolbox(namespace, { restore: SCRIPTS.hangHard });
  for (const second of ["SIGTERM", "SIGINT"] as const) {
    await using program = await Program.start(namespace, flags("nft", ...QUIET, "--cleanup"), { path });
    await startsHanging(program, namespace);
    const first = (await hanging(namespace)).length;
    program.kill("SIGTERM");
    await program.until(async () => {
      const pids = (await namespace.ok(["cat", "/run/hanging"])).split("\n").filter(Boolean);
      assert(pids.length > first, "The cleanup does not hang yet");
    });
    const { result: { code, stderr }, ms } = await timed(() => program.stop(second));
    assertEquals(code, 1, stderr);
    assertLess(ms, 500);
    assertTidy(stderr);
    await endHanging(namespace);
    await namespace.ok(["rm", "/run/hanging"]);
  }
});

kernelTest("a one-shot that is interrupted says by its exit code that it is not done", async (namespace) => {
  const path = await toolbox(namespace, { restore: SCRIPTS.hang });
  await using program = await Program.start(namespace, flags("nft", "--daemon=false"), { path });
  await startsHanging(program, namespace);
  const { result: { code, stderr }, ms } = await timed(() => program.stop());
  assertEquals(code, 1, stderr);
  assertLess(ms, AT_ONCE_MS);
  assertTidy(stderr);
  assertEquals(await hanging(namespace), []);
});

for (const backend of BACKENDS) {
  kernelTest(`${backend}: SIGHUP asks for a full pass now`, async (namespace) => {
    await using program = await Program.start(namespace, flags(backend, ...QUIET), { backend });
    await program.reached(namespace, WANTED, backend);
    await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
    await namespace.ok([`iptables-${backend}`, "-t", "raw", "-F"]);
    program.kill("SIGHUP");
    await program.reached(namespace, WANTED, backend);
    assertEquals((await program.stop()).code, 0);
  });
}

kernelTest("SIGHUP during a pass makes one more after it, and many make no more than that", async (namespace) => {
  // Waits in the middle of the pass for a file.
  const path = await toolbox(namespace, {
    ip: 'touch /run/waiting; while [ ! -e /run/go ]; do sleep 0.01; done; exec "$real" "$@"',
  });
  await using program = await Program.start(namespace, [`--ip-address=${ADDRESS}`, ...QUIET, "-v=2"], { path });
  await program.until(async () => assertEquals((await namespace.run(["ls", "/run/waiting"])).code, 0));
  for (let i = 0; i < 20; i++) program.kill("SIGHUP");
  await namespace.ok(["touch", "/run/go"]);
  await program.logged(/Made a pass cause="signal"/);
  const { code, stderr } = await program.stop();
  assertEquals(code, 0);
  assertEquals(stderr.match(/Made a pass cause="\w+"/g), ['Made a pass cause="start"', 'Made a pass cause="signal"']);
});

kernelTest("SIGHUP does not end a cleanup", async (namespace) => {
  const before = await namespace.dump();
  await using program = await Program.start(namespace, flags("nft", ...QUIET, "--cleanup"));
  await program.reached(namespace, WANTED);
  program.kill("SIGTERM");
  program.kill("SIGHUP");
  const { code, stderr } = await program.end();
  assertEquals(code, 0, stderr);
  assertSameDump(await namespace.dump(), before);
});

import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import { delay } from "@std/async/delay";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  type Backend,
  BACKENDS,
  eventually,
  flags,
  hanging,
  Program,
  ruleLines,
  runProgram,
  SCRIPTS,
  sideBySide,
  state,
  toolbox,
  WANTED,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const QUIET = ["--watch=false", "--sync-interval=1h"];
/** The whole of a cleanup, and of the attempts of a one-shot; the contract's. */
const CLEANUP_MS = 10_000;
const ONE_SHOT_MS = 30_000;

/** Holds the xtables lock until it is disposed of. */
async function holdLock(namespace: Namespace): Promise<AsyncDisposable> {
  const holder = namespace.spawn(["flock", "/run/xtables.lock", "sh", "-c", "echo held; exec cat"], {
    stdin: "piped",
    stdout: "piped",
  });
  const reader = holder.stdout.getReader();
  const { done } = await reader.read();
  reader.releaseLock();
  assert(!done, "flock failed");
  return {
    async [Symbol.asyncDispose]() {
      await holder.stdin.close();
      await holder.stdout.cancel();
      await holder.status;
    },
  };
}

/** A whole life of a daemon with --cleanup, whose stop is to fail within the time of a cleanup. */
async function failsToCleanUp(
  namespace: Namespace,
  { backend = "nft", tools, there, left, before = async () => {} }: {
    backend?: Backend;
    tools: { ip?: string; restore?: string };
    /** What is there before, and what is left. */
    there: readonly string[];
    left: readonly string[];
    /** Done before the stop. */
    before?: () => Promise<unknown>;
  },
): Promise<string> {
  const path = await toolbox(namespace, { backend, ...tools });
  await using program = await Program.start(namespace, flags(backend, ...QUIET, "--cleanup"), { path });
  await program.reached(namespace, there, backend);
  await before();
  const started = performance.now();
  const { code, stderr } = await program.stop();
  assertEquals(code, 1, stderr);
  assertLess(performance.now() - started, CLEANUP_MS);
  assertTidy(stderr);
  assertEquals(await state(namespace, backend), [...left], stderr);
  return stderr;
}

/** Asserts that some errors of a log name each of some lines of {@linkcode state}. */
function assertNames(stderr: string, rules: readonly string[]): void {
  const errors = stderr.split("\n").filter((line) => line.startsWith("E")).join("\n");
  for (const rule of rules) {
    assert(errors.includes(rule.replace(" -A ", " ")), `No error names ${rule}:\n${stderr}`);
  }
}

/** Milliseconds from Started to Stopped: a dozen programs at once are slow to start. */
function lifetime(stderr: string): number {
  const [started = NaN, stopped = NaN] = ["Started", "Stopped"].map((word) => {
    const [, hour, minute, second] =
      new RegExp(`^I\\d{4} (\\d\\d):(\\d\\d):([\\d.]+) .*\\] ${word} `, "m").exec(stderr) ?? [];
    return (Number(hour) * 60 + Number(minute)) * 60_000 + Number(second) * 1000;
  });
  const day = 24 * 3_600_000;
  return (stopped - started + day) % day;
}

// These take as long as the contract lets the program try, so all of them run at once.
kernelTest("what is in the way for long is waited for, and given up in time", () =>
  sideBySide({
    "the xtables lock, held for 3 s: a one-shot succeeds": async (namespace) => {
      const path = await toolbox(namespace, { backend: "legacy" });
      let run: Promise<{ code: number; stderr: string }>;
      {
        await using _lock = await holdLock(namespace);
        run = runProgram(namespace, flags("legacy", ONCE), { path });
        await eventually(async () => assertEquals(await state(namespace, "legacy"), WANTED.slice(0, 1)));
        await delay(3000);
        assertEquals(await state(namespace, "legacy"), WANTED.slice(0, 1));
      }
      const { code, stderr } = await run;
      assertEquals(code, 0, stderr);
      assertEquals(await state(namespace, "legacy"), [...WANTED]);
    },

    "the xtables lock, held for 3 s, with less patience than that for a command": async (namespace) => {
      const path = await toolbox(namespace, { backend: "legacy" });
      let run: Promise<{ code: number; stderr: string }>;
      {
        await using _lock = await holdLock(namespace);
        run = runProgram(namespace, flags("legacy", ONCE, "--command-timeout=1s"), { path });
        await delay(3000);
      }
      const { code, stderr } = await run;
      assertEquals(code, 0, stderr);
      assertEquals(await state(namespace, "legacy"), [...WANTED]);
      assertTidy(stderr);
    },

    "the xtables lock, held for ever: a one-shot gives up and names it": async (namespace) => {
      await using _lock = await holdLock(namespace);
      const { code, stderr } = await runProgram(namespace, flags("legacy", ONCE), { backend: "legacy" });
      const took = lifetime(stderr);
      assertEquals(code, 1, stderr);
      assertGreater(took, ONE_SHOT_MS / 2);
      assertLess(took, ONE_SHOT_MS + 2000);
      assertMatch(stderr, /^E.*xtables lock/m);
      assertTidy(stderr);
      assertEquals(await state(namespace, "legacy"), WANTED.slice(0, 1));
    },

    "the xtables lock, held: a daemon goes on, and repairs when it is free": async (namespace) => {
      const path = await toolbox(namespace, { backend: "legacy" });
      await using program = await Program.start(
        namespace,
        flags("legacy", "--watch=false", "--sync-interval=200ms", "--command-timeout=2s"),
        { path },
      );
      await program.reached(namespace, WANTED, "legacy");
      await namespace.ok(["iptables-legacy", "-t", "raw", "-F"]);
      {
        await using _lock = await holdLock(namespace);
        await program.logged(/^E.*xtables lock/m);
        await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
        await program.until(async () => assertEquals((await state(namespace, "legacy"))[0], WANTED[0]));
      }
      await program.reached(namespace, WANTED, "legacy");
      const { code, stderr } = await program.stop();
      assertEquals(code, 0, stderr);
      assertTidy(stderr);
    },

    "the xtables lock, held: cleanup gives up in time and says what is left": async (namespace) => {
      const locks: AsyncDisposable[] = [];
      const stderr = await failsToCleanUp(namespace, {
        backend: "legacy",
        tools: {},
        there: WANTED,
        left: WANTED.slice(1),
        before: async () => locks.push(await holdLock(namespace)),
      });
      for (const lock of locks) await lock[Symbol.asyncDispose]();
      assertMatch(stderr, /^E.*xtables lock/m);
      assertNames(stderr, ruleLines());
    },

    ...Object.fromEntries(BACKENDS.map((backend) => [
      `${backend}: a deletion that fails is told, and the address goes`,
      async (namespace: Namespace) => {
        const stderr = await failsToCleanUp(namespace, {
          backend,
          tools: { restore: SCRIPTS.cannotDelete },
          there: WANTED,
          left: WANTED.slice(1),
        });
        assertNames(stderr, ruleLines());
      },
    ])),

    ...Object.fromEntries((["hang", "hangHard"] as const).map((hang) => [
      `cleanup with an iptables that hangs (${hang}): the address goes`,
      async (namespace: Namespace) => {
        await failsToCleanUp(namespace, { tools: { restore: SCRIPTS[hang] }, there: WANTED.slice(0, 1), left: [] });
        assertEquals(await hanging(namespace), []);
      },
    ])),

    "cleanup with an ip that hangs: the rules go": async (namespace) => {
      const stderr = await failsToCleanUp(namespace, {
        tools: { ip: SCRIPTS.hangLater },
        there: WANTED,
        left: WANTED.slice(0, 1),
        before: () => namespace.ok(["touch", "/run/hang"]),
      });
      assertMatch(stderr, /^E.*10\.96\.0\.2\/32/m);
      for (const pid of await hanging(namespace)) await namespace.run(["kill", `${pid}`]);
    },

    "a one-shot whose iptables hangs gives up in time": async (namespace) => {
      const path = await toolbox(namespace, { restore: SCRIPTS.hangHard });
      const { code, stderr } = await runProgram(namespace, flags("nft", ONCE, "--command-timeout=2s"), { path });
      assertEquals(code, 1, stderr);
      assertLess(lifetime(stderr), ONE_SHOT_MS + 2000);
      assertMatch(stderr, /^E.*iptables.*2000ms|^E.*iptables.*2s/m);
      assertTidy(stderr);
      assertEquals(await state(namespace), WANTED.slice(0, 1));
      assertEquals(await hanging(namespace), []);
    },
  }));

for (const tool of ["ip", "restore"] as const) {
  kernelTest(`--command-timeout kills and reaps a hanging ${tool}, and the daemon goes on`, async (namespace) => {
    const before = await namespace.dump();
    const script = `if [ -e /run/hang ]; then ${SCRIPTS.hangHard}; fi; exec "$real" "$@"`;
    const path = await toolbox(namespace, { [tool]: script });
    await namespace.ok(["touch", "/run/hang"]);
    await using program = await Program.start(
      namespace,
      flags("nft", "--watch=false", "--sync-interval=200ms", "--command-timeout=300ms", "--cleanup"),
      { path },
    );
    await program.logged(/^E.*300ms/m);
    const [pid] = (await namespace.ok(["cat", "/run/hanging"])).split("\n").map(Number);
    await program.until(async () =>
      assert(!(await hanging(namespace)).includes(pid!), "It is still there, or a zombie")
    );
    await namespace.ok(["rm", "/run/hang"]);
    await program.reached(namespace, WANTED);
    await program.until(async () => assertEquals(await hanging(namespace), []));
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
    assertSameDump(await namespace.dump(), before);
  });
}

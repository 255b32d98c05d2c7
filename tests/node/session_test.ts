import { assert, assertEquals, assertLess } from "@std/assert";
import type { CommandResult, CommandRunner } from "../../lib/node/process.ts";
import { desired } from "../../lib/desired/desired.ts";
import { pass, tools } from "../../lib/reconcile/reconcile.ts";
import { reuseProcesses } from "../../lib/node/session.ts";
import { settled } from "../support/fake_clock.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

const IP = ["ip", "-json", "-details", "-force", "-batch", "-"];
const RESTORE = ["iptables-restore", "--noflush", "--verbose", "--wait=5"];
const SHOW = "address show dev lo\n";
const LIST = "*raw\n-S OUTPUT\nCOMMIT\n# end\n";
const keepAll = () => true;

Deno.test("reuseProcesses() speaks with one process over a hundred conversations", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const answers = [];
  for (let count = 0; count < 100; count++) answers.push(await ask(runner));
  assertEquals(node.processes, [{ argv: IP, stdin: SHOW.repeat(100) }]);
  assertEquals(new Set(answers.map(({ answer }) => answer)).size, 1);
  assert(answers[0]?.answer?.startsWith('[{"ifindex":1,"ifname":"lo"'));
  assertEquals(
    answers.map(({ result: { duration: _, ...result } }) => result),
    answers.map((_, index) => ({ argv: IP, stdout: "", stderr: "", linesBefore: index, error: undefined })),
  );
});

Deno.test("reuseProcesses() ends the kept process, and keeps its own, when a fresh one is asked for", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  for (let count = 1; count <= 5; count++) {
    assertEquals((await ask(runner, { argv: RESTORE, text: LIST, fresh: true })).result.linesBefore, 0);
    assertEquals((await ask(runner, { argv: RESTORE, text: LIST })).result.linesBefore, 4);
    assertEquals([node.processes.length, node.running.size], [count, 1]);
  }
  assertEquals(node.processes, Array(5).fill({ argv: RESTORE, stdin: LIST + LIST }));
});

Deno.test("reuseProcesses() does not wait for the end of what a fresh process replaces", async () => {
  const node = new FakeNode();
  const runner = reuseProcesses(node, keepAll);
  await ask(runner);
  node.hang.add("ip");
  const talk = runner.start(IP, { timeout: 10_000, fresh: true });
  node.hang.clear();
  assert((await talk.say(SHOW, (stdout) => stdout.endsWith("]\n")))?.startsWith("[{"));
  await talk.end({ reusable: true });
  assertEquals([node.processes.length, node.running.size, node.clock.now()], [2, 2, 0]);
  await node.clock.until(Promise.resolve(runner[Symbol.asyncDispose]()));
  assertEquals([node.running.size, node.clock.waiting], [0, 0]);
});

Deno.test("reuseProcesses() leaves the others alone", async () => {
  const node = new FakeNode();
  const runner = reuseProcesses(node, () => false);
  for (let count = 0; count < 3; count++) await ask(runner);
  assertEquals([node.processes.length, node.running.size], [3, 0]);
  await runner[Symbol.asyncDispose]();
});

Deno.test("reuseProcesses() has a process for each command line", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const other = ["ip6tables-restore", ...RESTORE.slice(1)];
  for (let count = 0; count < 3; count++) {
    for (const argv of [RESTORE, other]) await ask(runner, { argv, text: "# end\n" });
    await ask(runner);
  }
  const started = Map.groupBy(node.processes, ({ argv }) => argv[0]);
  assertEquals([...started].map(([name, { length }]) => [name, length]), [
    ["iptables-restore", 1],
    ["ip6tables-restore", 1],
    ["ip", 1],
  ]);
});

Deno.test("reuseProcesses() ends all that wait when it is disposed of, and can be once more", async () => {
  const node = new FakeNode();
  const runner = reuseProcesses(node, keepAll);
  await ask(runner);
  await ask(runner, { argv: RESTORE, text: "# end\n" });
  assertEquals(node.running.size, 2);
  await runner[Symbol.asyncDispose]();
  assertEquals(node.running.size, 0);
  await runner[Symbol.asyncDispose]();
  await using _nothing = reuseProcesses(node, keepAll);
});

for (const [argv, text] of [[IP, SHOW], [RESTORE, LIST]] as const) {
  Deno.test(`reuseProcesses() starts another ${argv[0]} when the one that waits has died`, async () => {
    const node = new FakeNode();
    await using runner = reuseProcesses(node, keepAll);
    const { answer: first } = await ask(runner, { argv, text });
    const { length } = node.processes;
    node.happen(argv[0]!, { signal: "SIGKILL" });
    const { answer, result } = await ask(runner, { argv, text });
    assertEquals([answer, result.linesBefore, result.error], [first, 0, undefined]);
    assertEquals([node.processes.length, node.running.size], [length + 1, 1]);
  });
}

Deno.test("reuseProcesses() starts another when the kept one does not answer for a second", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  await ask(runner);
  node.hang.add("ip");
  const asking = ask(runner);
  await settled();
  node.hang.clear();
  const { answer, result } = await node.clock.until(asking);
  assert(answer?.startsWith("[{"));
  assertEquals([result.linesBefore, result.error], [0, undefined]);
  assertEquals([node.clock.now(), node.processes.length, node.running.size], [1000, 2, 1]);
});

Deno.test("reuseProcesses() gives up when a fresh one does not answer either", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  await ask(runner);
  node.hang.add("ip");
  const { answer, result } = await node.clock.until(ask(runner));
  assertEquals([answer, result.error?.kind, node.running.size], [undefined, "timed-out", 0]);
  assertEquals(node.processes.length, 2);
});

Deno.test("reuseProcesses() lets a fresh process take the whole time-out", async () => {
  const node = new FakeNode();
  node.slow.set("ip", 9000);
  await using runner = reuseProcesses(node, keepAll);
  const { answer, result } = await node.clock.until(ask(runner));
  assertEquals([answer === undefined, result.error?.message], [false, undefined]);
});

Deno.test("reuseProcesses() lets a kept process take the whole time-out for repairs", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  await ask(runner);
  const talk = runner.start(IP, { timeout: 10_000 });
  const say = () => talk.say(SHOW, (stdout) => stdout.endsWith("]\n"));
  await say();
  node.slow.set("ip", 9000);
  assert((await node.clock.until(say()))?.startsWith("[{"));
  assertEquals([(await talk.end({ reusable: true })).error, node.processes.length], [undefined, 1]);
});

Deno.test("reuseProcesses() does not keep a process that failed", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  await ask(runner);
  const { answer, result } = await ask(runner, { text: `address del 10.96.0.2/32 dev lo\n${SHOW}`, reusable: false });
  assert(answer?.startsWith("[{"));
  assertEquals(result.linesBefore, 1);
  assertEquals(result.error?.message, "Cannot run ip: Error: ipv4: Address not found.; Command failed -:2");
  assertEquals(node.running.size, 0);
  assertEquals((await ask(runner)).result.linesBefore, 0);
  assertEquals([node.processes.length, node.running.size], [2, 1]);
});

Deno.test("reuseProcesses() does not keep a process that said something on stderr", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const { result } = await ask(runner, { text: `link del dev nope\n${SHOW}` });
  assertEquals(result.stderr, 'Cannot find device "nope"\nCommand failed -:1\n');
  assertEquals(node.running.size, 0);
});

Deno.test("reuseProcesses() ends the conversation when it is stopped", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const stop = new AbortController();
  await ask(runner, { signal: stop.signal });
  node.hang.add("ip");
  const asking = ask(runner, { signal: stop.signal });
  await settled();
  stop.abort();
  const { answer, result } = await asking;
  assertEquals([answer, result.error?.kind, node.running.size, node.clock.waiting], [undefined, "aborted", 0, 0]);
});

Deno.test("reuseProcesses() starts no other process when it is stopped", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const stop = new AbortController();
  await ask(runner, { signal: stop.signal });
  stop.abort();
  await ask(runner, { signal: stop.signal });
  assertEquals(node.processes.length, 1);
});

Deno.test("reuseProcesses() ends what conversations side by side leave", async () => {
  const node = new FakeNode();
  const runner = reuseProcesses(node, keepAll);
  await Promise.all([ask(runner), ask(runner)]);
  await runner[Symbol.asyncDispose]();
  assertEquals(node.running.size, 0);
});

Deno.test("reuseProcesses() blames the right item when the kept process was told much before", async () => {
  const node = new FakeNode();
  await using runner = reuseProcesses(node, keepAll);
  const place = { runner, commandTimeout: 10_000 };
  const { addresses } = tools(place, desired(configOf("--ip-address=10.96.0.3,10.96.0.4"), "present"));
  for (let count = 0; count < 5; count++) await pass(place, [addresses]);
  node.apply(
    "ip address del 10.96.0.2/32 dev lo\nip address del 10.96.0.3/32 dev lo\nip address del 10.96.0.4/32 dev lo",
  );
  node.refuse.push([/^address add 10\.96\.0\.3/, "RTNETLINK answers: No space left on device"]);
  const { items } = await pass(place, [addresses]);
  assertEquals(items.map(({ after, error }) => `${after?.state}: ${error?.message}`), [
    "present: undefined",
    "present: undefined",
    "missing: Cannot run ip: RTNETLINK answers: No space left on device",
    "present: undefined",
  ]);
  assertEquals([node.processes.length, node.running.size], [1, 0]);
});

for (const reusable of [true, false]) {
  const outcome = reusable ? "goes well" : "fails";
  Deno.test(`reuseProcesses() measures a conversation, not the life of its process, when it ${outcome}`, async () => {
    const node = new FakeNode();
    const old: CommandRunner = {
      start(argv, options) {
        const talk = node.start(argv, options);
        return {
          say: (...said) => talk.say(...said),
          end: async () => ({ ...await talk.end(), duration: 3_600_000 }),
        };
      },
    };
    await using runner = reuseProcesses(old, keepAll);
    await ask(runner);
    const { result } = await ask(runner, { reusable });
    assertLess(result.duration, 10_000);
  });
}

interface AskOptions {
  /** @default {IP} */
  readonly argv?: readonly string[];
  /** @default {SHOW} */
  readonly text?: string;
  /** @default {true} */
  readonly reusable?: boolean;
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
}

interface Answered {
  readonly answer: string | undefined;
  readonly result: CommandResult;
}

/** One conversation of one question. */
async function ask(runner: CommandRunner, options: AskOptions = {}): Promise<Answered> {
  const { argv = IP, text = SHOW, reusable = true, fresh = false, signal } = options;
  const talk = runner.start(argv, { timeout: 10_000, fresh, signal });
  const end = argv === IP ? "]\n" : "# end\n";
  const answer = await talk.say(text, (stdout) => stdout.endsWith(end));
  return { answer, result: await talk.end({ reusable: reusable && answer !== undefined }) };
}

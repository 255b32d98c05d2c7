import { assert, assertEquals, assertLess } from "@std/assert";
import type { CommandResult, CommandRunner } from "../../lib/node/process.ts";
import { desired } from "../../lib/desired/desired.ts";
import { addressTool } from "../../lib/node/address.ts";
import { pass } from "../../lib/reconcile/pass.ts";
import { Sessions } from "../../lib/node/session.ts";
import { settled } from "../support/fake_clock.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";
import { IP } from "../support/texts.ts";

const RESTORE = ["iptables-restore", "--noflush", "--verbose", "--wait=5"];
const SHOW = "address show dev lo\n";
const LIST = "*raw\n-S OUTPUT\nCOMMIT\n# end\n";

Deno.test("Sessions.open() speaks with one process over a hundred conversations", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const answers = [];
  for (let count = 0; count < 100; count++) answers.push(await ask(sessions));
  assertEquals(node.processes, [{ argv: IP, stdin: SHOW.repeat(100) }]);
  assertEquals(new Set(answers.map(({ answer }) => answer)).size, 1);
  assert(answers[0]?.answer?.startsWith('[{"ifindex":1,"ifname":"lo"'));
  assertEquals(
    answers.map(({ result: { duration: _, ...result } }) => result),
    answers.map(() => ({ argv: IP, stdout: "", stderr: "", error: undefined })),
  );
});

Deno.test("Sessions.renew() ends what is kept, without waiting for it", async () => {
  const node = new FakeNode();
  const sessions = new Sessions(node, node.clock);
  await ask(sessions);
  node.hang.add("ip");
  sessions.renew();
  node.hang.clear();
  assert((await ask(sessions)).answer?.startsWith("[{"));
  assertEquals([node.processes.length, node.running.size, node.clock.now()], [2, 2, 0]);
  await sessions[Symbol.asyncDispose]();
  assertEquals([node.running.size, node.clock.waiting], [0, 0]);
});

Deno.test("Sessions.open() has a process for each command line", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const other = ["ip6tables-restore", ...RESTORE.slice(1)];
  for (let count = 0; count < 3; count++) {
    for (const argv of [RESTORE, other]) await ask(sessions, { argv, text: "# end\n" });
    await ask(sessions);
  }
  const started = Map.groupBy(node.processes, ({ argv }) => argv[0]);
  assertEquals([...started].map(([name, { length }]) => [name, length]), [
    ["iptables-restore", 1],
    ["ip6tables-restore", 1],
    ["ip", 1],
  ]);
});

Deno.test("Sessions.open() ends all that wait when it is disposed of, and can be once more", async () => {
  const node = new FakeNode();
  const sessions = new Sessions(node, node.clock);
  await ask(sessions);
  await ask(sessions, { argv: RESTORE, text: "# end\n" });
  assertEquals(node.running.size, 2);
  await sessions[Symbol.asyncDispose]();
  assertEquals(node.running.size, 0);
  await sessions[Symbol.asyncDispose]();
});

for (const [argv, text] of [[IP, SHOW], [RESTORE, LIST]] as const) {
  Deno.test(`Sessions.open() starts another ${argv[0]} when the one that waits has died`, async () => {
    const node = new FakeNode();
    await using sessions = new Sessions(node, node.clock);
    const { answer: first } = await ask(sessions, { argv, text });
    const { length } = node.processes;
    node.happen(argv[0]!, { signal: "SIGKILL" });
    const { answer, linesBefore, result } = await ask(sessions, { argv, text });
    assertEquals([answer, linesBefore, result.error], [first, 0, undefined]);
    assertEquals([node.processes.length, node.running.size], [length + 1, 1]);
  });
}

Deno.test("Sessions.open() starts another when the kept one does not answer for a second", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  await ask(sessions);
  node.hang.add("ip");
  const asking = ask(sessions);
  await settled();
  node.hang.clear();
  const { answer, linesBefore, result } = await node.clock.until(asking);
  assert(answer?.startsWith("[{"));
  assertEquals([linesBefore, result.error], [0, undefined]);
  assertEquals([node.clock.now(), node.processes.length, node.running.size], [1000, 2, 1]);
});

Deno.test("Sessions.open() gives up when a fresh one does not answer either", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  await ask(sessions);
  node.hang.add("ip");
  const { answer, result } = await node.clock.until(ask(sessions));
  assertEquals([answer, result.error?.kind, node.running.size], [undefined, "timed-out", 0]);
  assertEquals(node.processes.length, 2);
});

Deno.test("Sessions.open() lets a fresh process take the whole time-out", async () => {
  const node = new FakeNode();
  node.slow.set("ip", 9000);
  await using sessions = new Sessions(node, node.clock);
  const { answer, result } = await node.clock.until(ask(sessions));
  assertEquals([answer === undefined, result.error?.message], [false, undefined]);
});

Deno.test("Sessions.open() lets a kept process take the whole time-out for repairs", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  await ask(sessions);
  const session = sessions.open(IP, { timeout: 10_000 });
  const say = () => session.say(SHOW, ({ stdout }) => stdout.endsWith("]\n"));
  await say();
  node.slow.set("ip", 9000);
  assert((await node.clock.until(say()))?.stdout.startsWith("[{"));
  assertEquals([(await session.end(true)).error, node.processes.length], [undefined, 1]);
});

Deno.test("Sessions.open() does not keep a process that failed", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  await ask(sessions);
  const text = `address del 10.96.0.2/32 dev lo\n${SHOW}`;
  const { answer, linesBefore, result } = await ask(sessions, { text, keep: false });
  assert(answer?.startsWith("[{"));
  assertEquals(linesBefore, 1);
  assertEquals(result.error?.message, "Cannot run ip: Error: ipv4: Address not found.; Command failed -:2");
  assertEquals(node.running.size, 0);
  assertEquals((await ask(sessions)).linesBefore, 0);
  assertEquals([node.processes.length, node.running.size], [2, 1]);
});

Deno.test("Session.hasComplained tells whether the process has said anything on stderr in this conversation", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const told: boolean[] = [];
  for (const text of ["", "link del dev nope\n", ""]) {
    const session = sessions.open(IP, { timeout: 10_000 });
    await session.say(text + SHOW, ({ stdout }) => stdout.endsWith("]\n"));
    told.push(session.hasComplained);
    await session.end(true);
  }
  assertEquals(told, [false, true, false]);
});

Deno.test("Sessions.open() ends the conversation when it is stopped", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const stop = new AbortController();
  await ask(sessions, { signal: stop.signal });
  node.hang.add("ip");
  const asking = ask(sessions, { signal: stop.signal });
  await settled();
  stop.abort();
  const { answer, result } = await asking;
  assertEquals([answer, result.error?.kind, node.running.size, node.clock.waiting], [undefined, "aborted", 0, 0]);
});

Deno.test("Sessions.open() starts no other process when it is stopped", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const stop = new AbortController();
  await ask(sessions, { signal: stop.signal });
  stop.abort();
  await ask(sessions, { signal: stop.signal });
  assertEquals(node.processes.length, 1);
});

Deno.test("Sessions.open() ends what conversations side by side leave", async () => {
  const node = new FakeNode();
  const sessions = new Sessions(node, node.clock);
  await Promise.all([ask(sessions), ask(sessions)]);
  await sessions[Symbol.asyncDispose]();
  assertEquals(node.running.size, 0);
});

Deno.test("Sessions.open() blames the right item when the kept process was told much before", async () => {
  const node = new FakeNode();
  await using sessions = new Sessions(node, node.clock);
  const tool = addressTool(desired(configOf("--ip-address=10.96.0.3,10.96.0.4"), "present"));
  const look = () => pass([tool], { sessions, commandTimeout: 10_000 });
  for (let count = 0; count < 5; count++) await look();
  node.apply(
    "ip address del 10.96.0.2/32 dev lo\nip address del 10.96.0.3/32 dev lo\nip address del 10.96.0.4/32 dev lo",
  );
  node.refuse.push([/^address add 10\.96\.0\.3/, "RTNETLINK answers: No space left on device"]);
  const { items } = await look();
  assertEquals(items.map(({ after, error }) => `${after?.state}: ${error?.message}`), [
    "present: undefined",
    "present: undefined",
    "missing: Cannot run ip: RTNETLINK answers: No space left on device",
    "present: undefined",
  ]);
  assertEquals([node.processes.length, node.running.size], [1, 0]);
});

for (const keep of [true, false]) {
  const outcome = keep ? "goes well" : "fails";
  Deno.test(`Sessions.open() measures a conversation, not the life of its process, when it ${outcome}`, async () => {
    const node = new FakeNode();
    const old: CommandRunner = {
      start(argv, options) {
        const talk = node.start(argv, options);
        return {
          pid: talk.pid,
          say: (...said) => talk.say(...said),
          end: async () => ({ ...await talk.end(), duration: 3_600_000 }),
        };
      },
    };
    await using sessions = new Sessions(old, node.clock);
    await ask(sessions);
    const { result } = await ask(sessions, { keep });
    assertLess(result.duration, 10_000);
  });
}

interface AskOptions {
  /** @default {IP} */
  readonly argv?: readonly string[];
  /** @default {SHOW} */
  readonly text?: string;
  /** @default {true} */
  readonly keep?: boolean;
  readonly signal?: AbortSignal;
}

interface Answered {
  readonly answer: string | undefined;
  readonly linesBefore: number;
  readonly result: CommandResult;
}

/** One conversation of one question. */
async function ask(sessions: Sessions, options: AskOptions = {}): Promise<Answered> {
  const { argv = IP, text = SHOW, keep = true, signal } = options;
  const session = sessions.open(argv, { timeout: 10_000, signal });
  const end = argv === IP ? "]\n" : "# end\n";
  const answer = await session.say(text, ({ stdout }) => stdout.endsWith(end));
  const { linesBefore } = session;
  return { answer: answer?.stdout, linesBefore, result: await session.end(keep && answer !== undefined) };
}

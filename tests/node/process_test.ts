import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { type CommandResult, commandRunner, type Conversation, runCommand } from "../../lib/node/process.ts";

const LIMIT = { timeout: 20_000 };
/** From SIGTERM to SIGKILL, with room for a slow machine. */
const SOON_MS = 5000;

Deno.test("commandRunner.start() gives answer after answer, each without the ones before", async () => {
  const talk = commandRunner.start(["cat"], LIMIT);
  assertEquals(await talk.say("one\n", isLine), "one\n");
  assertEquals(await talk.say("two\nthree\n", (stdout) => stdout.split("\n").length > 2), "two\nthree\n");
  assertEquals(await talk.say("", () => true), "");
  assertEquals(essence(await talk.end()), {
    argv: ["cat"],
    stdout: "",
    stderr: "",
    linesBefore: 0,
    error: undefined,
  });
});

Deno.test("commandRunner.start() waits for an answer that comes in pieces, within a character too", async () => {
  const talk = sh(String.raw`read line; printf 'caf\303'; sleep 0.05; printf '\251\n'; cat`);
  assertEquals(await talk.say("go\n", isLine), "café\n");
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("commandRunner.start() shows what stderr said since the last answer", async () => {
  const talk = sh("while read line; do echo $line >&2; done");
  const seen: string[] = [];
  for (const word of ["one", "two"]) {
    const answer = await talk.say(`${word}\n`, (_, stderr) => {
      if (isLine(stderr)) seen.push(stderr);
      return isLine(stderr);
    });
    assertEquals(answer, "");
  }
  assertEquals([...new Set(seen)], ["one\n", "two\n"]);
  assertEquals(essence(await talk.end()).stderr, "one\ntwo\n");
});

Deno.test("commandRunner.start() gives the answer of a program that ends with it", async () => {
  const talk = sh("echo answer");
  assertEquals(await talk.say("", (stdout) => isLine(stdout)), "answer\n");
  assertEquals(await talk.say("", (stdout) => isLine(stdout)), undefined);
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("commandRunner.start() runs programs in the C locale and without the caller's arguments", async () => {
  const { stdout } = await runCommand(commandRunner, ["sh", "-c", 'echo "$LC_ALL" "$#" "$1"', "sh", "a b"], LIMIT);
  assertEquals(stdout, "C 1 a b\n");
});

Deno.test("runCommand() gives both outputs and the error of a program that fails", async () => {
  const result = await runCommand(commandRunner, ["sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3"], LIMIT);
  assertEquals([result.stdout, result.stderr], ["out\n", "one\ntwo\n"]);
  const { error } = result;
  assertEquals(
    [error?.message, error?.kind, error?.code, error?.stderr, error?.argv],
    ["Cannot run sh: one; two", "other", 3, "one\ntwo\n", result.argv],
  );
});

Deno.test("runCommand() says how a program ended that said nothing", async () => {
  const ends = ["exit 4", "kill -9 $$"].map((script) => runCommand(commandRunner, ["sh", "-c", script], LIMIT));
  assertEquals((await Promise.all(ends)).map(({ error }) => error?.message), [
    "Cannot run sh: exit code 4",
    "Cannot run sh: killed by SIGKILL",
  ]);
});

Deno.test("commandRunner.start() does not throw when the program is missing", async () => {
  const talk = commandRunner.start(["no-such-program-here"], LIMIT);
  assertEquals(await talk.say("text\n", () => true), undefined);
  const { error, ...result } = await talk.end();
  assertEquals([error?.kind, error?.code, error?.message], [
    "missing-program",
    undefined,
    "Cannot run no-such-program-here: not installed: Debian's package iptables has it",
  ]);
  assertEquals([result.stdout, result.stderr], ["", ""]);
});

Deno.test("commandRunner.start() does not throw when the program cannot be run", async () => {
  const { error } = await runCommand(commandRunner, ["/"], LIMIT);
  assertEquals(error?.kind, "other");
  assert(error?.message.startsWith("Cannot run /: "), error?.message);
});

Deno.test("Conversation.end() gives the same result each time", async () => {
  const talk = sh("exit 5");
  const [first, second] = await Promise.all([talk.end(), talk.end()]);
  assertEquals(first === second && first === await talk.end(), true);
  assertEquals(first.error?.code, 5);
});

Deno.test("Conversation.end() reaps the process", async () => {
  const talk = sh("echo $$; exec cat");
  const pid = (await talk.say("", isLine))?.trim();
  assertEquals((await Deno.stat(`/proc/${pid}`)).isDirectory, true);
  await talk.end();
  await assertRejects(() => Deno.stat(`/proc/${pid}`), Deno.errors.NotFound);
});

Deno.test("Conversation.say() ends a program that does not answer in time", async () => {
  const started = performance.now();
  const talk = commandRunner.start(["sleep", "60"], { timeout: 50 });
  assertEquals(await talk.say("", isLine), undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.message, error?.transient], [
    "timed-out",
    "Cannot run sleep: no answer in 50ms",
    true,
  ]);
  assertLess(performance.now() - started, SOON_MS);
});

Deno.test("Conversation.end() ends a program that does not end in time", async () => {
  const talk = commandRunner.start(["sleep", "60"], { timeout: 50 });
  assertEquals((await talk.end()).error?.kind, "timed-out");
});

Deno.test("Conversation.say() kills a program that ignores SIGTERM, and reaps it", async () => {
  // An ignored signal stays ignored across exec.
  const talk = sh("trap '' TERM; echo $$; exec sleep 60", { timeout: 200 });
  const pid = (await talk.say("", isLine))?.trim();
  assertEquals(await talk.say("", isLine), undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.code], ["timed-out", 137]);
  await assertRejects(() => Deno.stat(`/proc/${pid}`), Deno.errors.NotFound);
});

Deno.test("Conversation.say() kills a program that somebody stopped", async () => {
  const talk = sh("echo $$; kill -STOP $$; echo on", { timeout: 200 });
  assertEquals(isLine((await talk.say("", isLine)) ?? ""), true);
  assertEquals(await talk.say("", isLine), undefined);
  assertEquals((await talk.end()).error?.kind, "timed-out");
});

Deno.test("Conversation.say() waits without limit when told so, until the signal aborts", async () => {
  const stop = new AbortController();
  const talk = commandRunner.start(["cat"], { timeout: Infinity, signal: stop.signal });
  assertEquals(await talk.say("ready\n", isLine), "ready\n");
  const answer = talk.say("", isLine);
  stop.abort();
  assertEquals(await answer, undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.message, error?.transient], ["aborted", "Cannot run cat: stopped", false]);
});

Deno.test("Conversation.end() is cut short when the signal aborts", async () => {
  const stop = new AbortController();
  const talk = commandRunner.start(["sleep", "60"], { ...LIMIT, signal: stop.signal });
  const end = talk.end();
  stop.abort();
  assertEquals((await end).error?.kind, "aborted");
});

Deno.test("commandRunner.start() ends a program at once when the signal has aborted before", async () => {
  const talk = commandRunner.start(["sleep", "60"], { ...LIMIT, signal: AbortSignal.abort() });
  assertEquals(await talk.say("", isLine), undefined);
  assertEquals((await talk.end()).error?.kind, "aborted");
});

Deno.test("Conversation.end() is not changed by a signal that aborts afterwards", async () => {
  const stop = new AbortController();
  const talk = commandRunner.start(["true"], { ...LIMIT, signal: stop.signal });
  const result = await talk.end();
  stop.abort();
  assertEquals([result.error, (await talk.end()).error], [undefined, undefined]);
});

Deno.test("Conversation.say() outlives a program that dies while it is told something", async () => {
  const talk = sh("read line; exit 4");
  assertEquals(await talk.say("line\n".repeat(1 << 18), isLine), undefined);
  assertEquals(await talk.say("more\n", isLine), undefined);
  assertEquals((await talk.end()).error?.message, "Cannot run sh: exit code 4");
});

Deno.test("Conversation.say() tells and is told far more than a pipe holds", async () => {
  const text = `${"0123456789abcdef".repeat(1 << 18)}\n`;
  const talk = commandRunner.start(["cat"], LIMIT);
  assertEquals(await talk.say(text, (stdout) => stdout.length === text.length) === text, true);
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("Conversation.end() keeps all that was printed after the last answer", async () => {
  const result = await runCommand(commandRunner, ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], LIMIT);
  assertEquals([result.stdout.length, result.error], [3_000_000, undefined]);
});

Deno.test("commandRunner.start() ends a program that prints without end", async () => {
  const { error, stdout } = await runCommand(commandRunner, ["yes"], LIMIT);
  assertEquals(error?.message, "Cannot run yes: it printed too much");
  assertLess(stdout.length, 80 << 20);
});

Deno.test("Conversation.end() does not wait for a grandchild that holds the pipes", async () => {
  const started = performance.now();
  const { stdout, error } = await runCommand(commandRunner, ["sh", "-c", "sleep 60 & echo $!"], LIMIT);
  Deno.kill(Number(stdout), "SIGKILL");
  assertEquals(error, undefined);
  assertLess(performance.now() - started, SOON_MS);
});

function sh(script: string, options: { readonly timeout: number } = LIMIT): Conversation {
  return commandRunner.start(["sh", "-c", script], options);
}

function isLine(text: string): boolean {
  return text.endsWith("\n");
}

function essence({ duration, ...rest }: CommandResult): Omit<CommandResult, "duration"> {
  assert(duration >= 0);
  return rest;
}

import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { delay } from "@std/async/delay";
import { type Answer, type CommandResult, linesOf, type Process, runCommand } from "../../lib/node/process.ts";
import { SystemCommands } from "../../lib/node/system_commands.ts";

const COMMANDS = new SystemCommands({ PATH: Deno.env.get("PATH") ?? "" });
const LIMIT = { timeout: 20_000 };
/** From SIGTERM to SIGKILL, with room for a slow machine. */
const SOON_MS = 5000;

Deno.test("SystemCommands.start() gives answer after answer, each without the ones before", async () => {
  const talk = COMMANDS.start(["cat"], LIMIT);
  assertEquals(await ask(talk, "one\n"), "one\n");
  assertEquals(await talk.say("two\nthree\n", ({ stdout }) => stdout.split("\n").length > 2), said("two\nthree\n"));
  assertEquals(await talk.say("", () => true), said(""));
  assertEquals(essence(await talk.end()), {
    argv: ["cat"],
    stdout: "",
    stderr: "",
    error: undefined,
  });
});

Deno.test("SystemCommands.start() waits for an answer that comes in pieces, within a character too", async () => {
  const talk = sh(String.raw`read line; printf 'caf\303'; sleep 0.05; printf '\251\n'; cat`);
  assertEquals(await ask(talk, "go\n"), "café\n");
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("SystemCommands.start() shows what stderr said since the last answer", async () => {
  const talk = sh("while read line; do echo $line >&2; done");
  const seen: string[] = [];
  for (const word of ["one", "two"]) {
    const answer = await talk.say(`${word}\n`, ({ stderr }) => stderr.endsWith("\n"));
    assertEquals(answer?.stdout, "");
    seen.push(answer?.stderr ?? "");
  }
  assertEquals(seen, ["one\n", "two\n"]);
  assertEquals(essence(await talk.end()).stderr, "one\ntwo\n");
});

Deno.test("SystemCommands.start() gives the answer of a program that ends with it", async () => {
  const talk = sh("echo answer");
  assertEquals(await ask(talk), "answer\n");
  assertEquals(await ask(talk), undefined);
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("SystemCommands.start() runs programs in / and in an environment that it was given", async () => {
  const { stdout } = await runCommand(COMMANDS, ["sh", "-c", "pwd; env | grep -v ^PWD= | grep -v ^_= | sort"], LIMIT);
  assertEquals(stdout, `/\nHOME=/dev/null\nLC_ALL=C\nPATH=${Deno.env.get("PATH")}\n`);
});

Deno.test("SystemCommands.start() starts no second program while what a killed one has started still runs", async () => {
  await using folder = {
    path: await Deno.makeTempDir(),
    [Symbol.asyncDispose]: () => Deno.remove(folder.path, { recursive: true }),
  };
  const script = `${folder.path}/hangs`;
  await Deno.writeTextFile(script, "#!/bin/sh\nsleep 60 &\necho $!\nwait\n", { mode: 0o755 });
  const commands = new SystemCommands({ PATH: Deno.env.get("PATH") ?? "" });
  const talk = commands.start([script], { timeout: 200 });
  const pid = Number(await ask(talk));
  assertEquals((await talk.end()).error?.kind, "timed-out");
  const { error } = await runCommand(commands, [script], LIMIT);
  assertEquals([error?.kind, error?.transient], ["busy", true]);
  assertEquals(error?.message, `Cannot run ${script}: a process that an earlier one started does not end`);
  assertEquals((await runCommand(commands, ["true"], LIMIT)).error, undefined);
  Deno.kill(pid, "SIGKILL");
  for (let kind: string | undefined = "busy"; kind === "busy";) {
    const again = commands.start([script], { timeout: 20_000 });
    const next = await ask(again);
    if (next !== undefined) Deno.kill(Number(next), "SIGKILL");
    kind = (await again.end()).error?.kind;
    await delay(5);
  }
});

Deno.test("linesOf() gives whole lines of both outputs until the program ends", async () => {
  const said: string[] = [];
  const talk = sh("printf one; sleep 0.05; printf '\\ntwo\\nthr'; sleep 0.05; echo lost >&2; sleep 0.05; echo ee");
  for await (const lines of linesOf(talk)) said.push(...lines);
  assertEquals(said, ["one", "two", "lost", "three"]);
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("linesOf() hands on a line without end in pieces", async () => {
  let length = 0;
  const talk = sh("head -c 1000000 /dev/zero | tr '\\0' x");
  for await (const lines of linesOf(talk)) length += lines.join("").length;
  assert(length > 900_000 && length <= 1_000_000, `${length}`);
  await talk.end();
});

Deno.test("SystemCommands.start() runs programs in the C locale and without the caller's arguments", async () => {
  const { stdout } = await runCommand(COMMANDS, ["sh", "-c", 'echo "$LC_ALL" "$#" "$1"', "sh", "a b"], LIMIT);
  assertEquals(stdout, "C 1 a b\n");
});

Deno.test("runCommand() gives both outputs and the error of a program that fails", async () => {
  const result = await runCommand(COMMANDS, ["sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3"], LIMIT);
  assertEquals([result.stdout, result.stderr], ["out\n", "one\ntwo\n"]);
  const { error } = result;
  assertEquals(
    [error?.message, error?.kind, error?.code, error?.stderr, error?.argv],
    ["Cannot run sh: one; two", "other", 3, "one\ntwo\n", result.argv],
  );
});

Deno.test("runCommand() says how a program ended that said nothing", async () => {
  const ends = ["exit 4", "kill -9 $$"].map((script) => runCommand(COMMANDS, ["sh", "-c", script], LIMIT));
  assertEquals((await Promise.all(ends)).map(({ error }) => error?.message), [
    "Cannot run sh: exit code 4",
    "Cannot run sh: killed by SIGKILL",
  ]);
});

Deno.test("SystemCommands.start() does not throw when the program is missing", async () => {
  const talk = COMMANDS.start(["no-such-program-here"], LIMIT);
  assertEquals(await talk.say("text\n", () => true), undefined);
  const { error, ...result } = await talk.end();
  assertEquals([error?.kind, error?.code, error?.message], [
    "missing-program",
    undefined,
    "Cannot run no-such-program-here: not installed: Debian's package iptables has it",
  ]);
  assertEquals([result.stdout, result.stderr], ["", ""]);
});

Deno.test("SystemCommands.start() does not throw when the program cannot be run", async () => {
  const { error } = await runCommand(COMMANDS, ["/"], LIMIT);
  assertEquals(error?.kind, "other");
  assert(error?.message.startsWith("Cannot run /: "), error?.message);
});

Deno.test("Process.end() gives the same result each time", async () => {
  const talk = sh("exit 5");
  const [first, second] = await Promise.all([talk.end(), talk.end()]);
  assertEquals(first === second && first === await talk.end(), true);
  assertEquals(first.error?.code, 5);
});

Deno.test("Process.end() reaps the process", async () => {
  const talk = sh("echo $$; exec cat");
  const pid = (await ask(talk))?.trim();
  assertEquals((await Deno.stat(`/proc/${pid}`)).isDirectory, true);
  await talk.end();
  await assertRejects(() => Deno.stat(`/proc/${pid}`), Deno.errors.NotFound);
});

Deno.test("Process.say() ends a program that does not answer in time", async () => {
  const started = performance.now();
  const talk = COMMANDS.start(["sleep", "60"], { timeout: 50 });
  assertEquals(await ask(talk), undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.message, error?.transient], [
    "timed-out",
    "Cannot run sleep: no answer in 50ms",
    true,
  ]);
  assertLess(performance.now() - started, SOON_MS);
});

Deno.test("Process.end() ends a program that does not end in time", async () => {
  const talk = COMMANDS.start(["sleep", "60"], { timeout: 50 });
  assertEquals((await talk.end()).error?.kind, "timed-out");
});

Deno.test("Process.say() kills a program that ignores SIGTERM, and reaps it", async () => {
  // An ignored signal stays ignored across exec.
  const talk = sh("trap '' TERM; echo $$; exec sleep 60", { timeout: 200 });
  const pid = (await ask(talk))?.trim();
  assertEquals(await ask(talk), undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.code], ["timed-out", 137]);
  await assertRejects(() => Deno.stat(`/proc/${pid}`), Deno.errors.NotFound);
});

Deno.test("Process.say() kills a program that somebody stopped", async () => {
  const talk = sh("echo $$; kill -STOP $$; echo on", { timeout: 200 });
  assertEquals(isLine(said((await ask(talk)) ?? "")), true);
  assertEquals(await ask(talk), undefined);
  assertEquals((await talk.end()).error?.kind, "timed-out");
});

Deno.test("Process.say() waits without limit when told so, until the signal aborts", async () => {
  const stop = new AbortController();
  const talk = COMMANDS.start(["cat"], { timeout: Infinity, signal: stop.signal });
  assertEquals(await ask(talk, "ready\n"), "ready\n");
  const answer = ask(talk);
  stop.abort();
  assertEquals(await answer, undefined);
  const { error } = await talk.end();
  assertEquals([error?.kind, error?.message, error?.transient], ["aborted", "Cannot run cat: stopped", false]);
});

Deno.test("Process.end() is cut short when the signal aborts", async () => {
  const stop = new AbortController();
  const talk = COMMANDS.start(["sleep", "60"], { ...LIMIT, signal: stop.signal });
  const end = talk.end();
  stop.abort();
  assertEquals((await end).error?.kind, "aborted");
});

Deno.test("SystemCommands.start() ends a program at once when the signal has aborted before", async () => {
  const talk = COMMANDS.start(["sleep", "60"], { ...LIMIT, signal: AbortSignal.abort() });
  assertEquals(await ask(talk), undefined);
  assertEquals((await talk.end()).error?.kind, "aborted");
});

Deno.test("Process.end() is not changed by a signal that aborts afterwards", async () => {
  const stop = new AbortController();
  const talk = COMMANDS.start(["true"], { ...LIMIT, signal: stop.signal });
  const result = await talk.end();
  stop.abort();
  assertEquals([result.error, (await talk.end()).error], [undefined, undefined]);
});

Deno.test("Process.say() outlives a program that dies while it is told something", async () => {
  const talk = sh("read line; exit 4");
  assertEquals(await ask(talk, "line\n".repeat(1 << 18)), undefined);
  assertEquals(await ask(talk, "more\n"), undefined);
  assertEquals((await talk.end()).error?.message, "Cannot run sh: exit code 4");
});

Deno.test("Process.say() tells and is told far more than a pipe holds", async () => {
  const text = `${"0123456789abcdef".repeat(1 << 18)}\n`;
  const talk = COMMANDS.start(["cat"], LIMIT);
  assertEquals((await talk.say(text, ({ stdout }) => stdout.length === text.length))?.stdout === text, true);
  assertEquals((await talk.end()).error, undefined);
});

Deno.test("Process.end() keeps all that was printed after the last answer", async () => {
  const result = await runCommand(COMMANDS, ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], LIMIT);
  assertEquals([result.stdout.length, result.error], [3_000_000, undefined]);
});

Deno.test("SystemCommands.start() ends a program that prints without end", async () => {
  const { error, stdout } = await runCommand(COMMANDS, ["yes"], LIMIT);
  assertEquals(error?.message, "Cannot run yes: it printed too much");
  assertLess(stdout.length, 80 << 20);
});

Deno.test("Process.end() does not wait for a grandchild that holds the pipes", async () => {
  const started = performance.now();
  const { stdout, error } = await runCommand(COMMANDS, ["sh", "-c", "sleep 60 & echo $!"], LIMIT);
  Deno.kill(Number(stdout), "SIGKILL");
  assertEquals(error, undefined);
  assertLess(performance.now() - started, SOON_MS);
});

function sh(script: string, options: { readonly timeout: number } = LIMIT): Process {
  return COMMANDS.start(["sh", "-c", script], options);
}

/** The next line, or lines, of stdout. */
async function ask(talk: Process, text = ""): Promise<string | undefined> {
  return (await talk.say(text, isLine))?.stdout;
}

function said(stdout: string): Answer {
  return { stdout, stderr: "" };
}

function isLine({ stdout }: Answer): boolean {
  return stdout.endsWith("\n");
}

function essence({ duration, ...rest }: CommandResult): Omit<CommandResult, "duration"> {
  assert(duration >= 0);
  return rest;
}

import { assertEquals, assertMatch, assertStrictEquals } from "@std/assert";
import { callSiteOf } from "../../lib/log/call_site.ts";
import { getLog } from "../../lib/log/mod.ts";
import { HEADER, START, testLogging } from "../support/logging.ts";

Deno.test("getLog() drops records before logging is set up, and after its end", async () => {
  const log = getLog("test");
  log.info("dropped");
  assertEquals(log.v(0), undefined);
  const logging = await testLogging({ verbosity: 1 });
  log.info("kept");
  const kept = log.v(1);
  kept?.info("kept, too");
  await logging[Symbol.asyncDispose]();
  log.info("dropped");
  log.error("dropped");
  kept?.info("dropped");
  assertEquals(log.v(0), undefined);
  assertEquals(await logging.stderr(), `I${HEADER}kept\nI${HEADER}kept, too\n`);
});

Deno.test("Log writes every severity to standard error by default", async () => {
  await using logging = await testLogging({ file: "/nowhere/file", dir: "/nowhere", alsoToStderr: true });
  logging.log.info("Added address", { address: "10.96.0.2" });
  logging.log.warning("Lock is busy", { attempt: 2 });
  logging.log.error("Pass failed", { error: new Error("no") });
  assertEquals(
    await logging.stderr(),
    `I${HEADER}Added address address="10.96.0.2"\nW${HEADER}Lock is busy attempt=2\nE${HEADER}Pass failed err="no"\n`,
  );
});

Deno.test("Log.v() is undefined above the module's level, so that nothing is evaluated", async () => {
  await using logging = await testLogging({ verbosity: 2, vmodule: [{ module: /^ip/, level: 4 }] });
  const evaluated: number[] = [];
  const count = (level: number) => evaluated.push(level);
  for (const [name, level] of [["test", 2], ["test", 3], ["iptables", 4], ["iptables", 5]] as const) {
    getLog(name).v(level)?.info("Pass", { n: count(level) });
  }
  assertEquals(evaluated, [2, 4]);
  assertEquals(await logging.stderr(), `I${HEADER}Pass n=1\nI${HEADER}Pass n=2\n`);
});

Deno.test("Log.v() follows a new set-up", async () => {
  const log = getLog("test");
  {
    await using _ = await testLogging({ verbosity: 4 });
    assertEquals(log.v(4) !== undefined, true);
  }
  await using _ = await testLogging({ verbosity: 3 });
  assertStrictEquals(log.v(4), undefined);
});

Deno.test("Log writes JSON when asked to", async () => {
  await using logging = await testLogging({ format: "json", verbosity: 4, skipHeaders: true });
  logging.log.v(4)?.info("Ran command", { code: 0 });
  logging.log.error("Pass failed", { error: "why", count: 1 });
  assertEquals(
    await logging.stderr(),
    `{"ts":${START},"caller":"test.ts:7","msg":"Ran command","v":4,"code":0}\n` +
      `{"ts":${START},"caller":"test.ts:7","msg":"Pass failed","err":"why","count":1}\n`,
  );
});

Deno.test("Log finds the call site of every method", async () => {
  await using logging = await testLogging({ verbosity: 1 }, { callSiteOf });
  logging.log.info("a");
  logging.log.warning("b");
  logging.log.error("c");
  logging.log.v(1)?.info("d");
  await Promise.resolve().then(() => logging.log.info("e"));
  assertEquals(
    (await logging.stderr()).match(/mod_test\.ts:\d+\] .*/g),
    ["mod_test.ts:67] a", "mod_test.ts:68] b", "mod_test.ts:69] c", "mod_test.ts:70] d", "mod_test.ts:71] e"],
  );
});

Deno.test("Log looks for no call site when no one sees it", async () => {
  await using logging = await testLogging({ skipHeaders: true }, {
    callSiteOf() {
      throw new Error("looked");
    },
  });
  logging.log.info("Added address", { port: 443 });
  logging.log.v(4)?.info("off");
  assertEquals(await logging.stderr(), "Added address port=443\n");
});

Deno.test("Log adds a stack trace at the line of --log_backtrace_at", async () => {
  await using logging = await testLogging({ backtraceAt: { file: "mod_test.ts", line: 92 } }, { callSiteOf });
  logging.log.info("without");
  logging.log.info("with", { port: 443 });
  const [without, withStack] = (await logging.stderr()).split("\n");
  assertMatch(without!, /mod_test\.ts:91\] without$/);
  assertMatch(
    withStack!,
    /mod_test\.ts:92\] with port=443 stack="file:\/\/\/\S+\/tests\/log\/mod_test\.ts:92:15(\\n[^"]+)*"$/,
  );
});

Deno.test("Log says that it could not write a record whose properties throw", async () => {
  await using logging = await testLogging();
  logging.log.info("Hostile", {
    get x(): string {
      throw new Error("no");
    },
  });
  logging.log.info("Next");
  const [defect, next, ...rest] = (await logging.stderr()).split("\n");
  assertMatch(
    defect!,
    /^F\d{4} [\d:.]{15} {4}4242 test\.ts:7\] Failed to emit a log record to sink .* err="no"$/,
  );
  assertEquals([next, ...rest], [`I${HEADER}Next`, ""]);
});

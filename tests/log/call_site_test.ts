import { assertEquals, assertMatch } from "@std/assert";
import { backtraceOf, type CallSite, callSiteOf, parseCallSite, UNKNOWN_CALL_SITE } from "../../lib/log/call_site.ts";

function marked(): CallSite {
  return callSiteOf(marked);
}

function trace(): string {
  return backtraceOf(trace);
}

Deno.test("callSiteOf() names the file, its directory and the line that called the function", () => {
  const here = { file: "call_site_test.ts", directory: "log" };
  assertEquals(marked(), { ...here, line: 14 });
  assertEquals([0].map(() => marked()), [{ ...here, line: 15 }]);
});

Deno.test("callSiteOf() is unknown when the function is not on the stack", () => {
  assertEquals(callSiteOf(trace), UNKNOWN_CALL_SITE);
});

Deno.test("callSiteOf() leaves the length of stack traces as it was", () => {
  const before = Error.stackTraceLimit;
  marked();
  assertEquals(Error.stackTraceLimit, before);
});

Deno.test("backtraceOf() shows the frames above the function", () => {
  function caller(): string {
    return trace();
  }
  const [first, second] = caller().split("\n");
  assertMatch(first!, /^caller \(file:\/\/\/.*\/tests\/log\/call_site_test\.ts:30:12\)$/);
  assertMatch(second!, /^file:\/\/\/.*\/tests\/log\/call_site_test\.ts:32:27$/);
});

Deno.test("parseCallSite() reads every form of a frame", () => {
  const site = { file: "run.ts", directory: "lib", line: 12 };
  const frames: [string, CallSite][] = [
    ["    at run (file:///srv/lib/run.ts:12:3)", site],
    ["    at file:///srv/lib/run.ts:12:3", site],
    ["    at async Loop.run [as x] (file:///srv/lib/run.ts:12:3)", site],
    ["    at new Loop (file:///srv/(a b)/lib/run.ts:12:3)", site],
    ["    at run (/tmp/deno-compile-program/../lib/run.ts:12:3)", site],
    ["    at run (run.ts:12:3)", { ...site, directory: "" }],
    ["    at run (<anonymous>)", UNKNOWN_CALL_SITE],
    ["", UNKNOWN_CALL_SITE],
  ];
  assertEquals(frames.map(([frame]) => [frame, parseCallSite(frame)]), frames);
});

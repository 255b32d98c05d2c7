import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { CommandError, type FailureKind } from "../../lib/node/command_error.ts";
import { desired } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { pass, tools } from "../support/passes.ts";
import { settle } from "../../lib/reconcile/settle.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { configFrom, FakeNode } from "../support/fake_node.ts";

Deno.test("settle() makes one pass when it goes well", async () => {
  const { said, ended, clock } = await settleWith(["ok"]);
  assertEquals([said, ended, clock.delays], [["start"], true, []]);
});

Deno.test("settle() tries again what may pass, with growing pauses", async () => {
  const { said, ended, clock } = await settleWith([
    "locked",
    "busy",
    "timed-out",
    "drift",
    "locked",
    "locked",
    "locked",
    "ok",
  ]);
  assertEquals([said, ended], [["start", ...Array(7).fill("retry")], true]);
  const { delays } = clock;
  const pauses = [100, 200, 400, 800, 1600, 2000, 2000];
  assertEquals(delays.length, pauses.length);
  delays.forEach((delay, index) => {
    const longest = pauses[index] ?? 0;
    assert(delay >= longest / 2 && delay <= longest, `pause ${index} is ${delay}`);
  });
});

for (const kind of ["missing-program", "not-permitted", "lock-file", "no-table", "unsupported", "other"] as const) {
  Deno.test(`settle() gives up at once what does not pass: ${kind}`, async () => {
    const { said, ended, clock } = await settleWith([kind, "ok"]);
    assertEquals([said, ended, clock.delays], [["start"], false, []]);
  });
}

Deno.test("settle() gives up when nothing can be done about it", async () => {
  const { said, ended } = await settleWith(["hopeless", "ok"]);
  assertEquals([said, ended], [["start"], false]);
});

Deno.test("settle() gives up in its time", async () => {
  const { ended, clock } = await settleWith(Array(100).fill("locked"));
  assertEquals([ended, clock.waiting], [false, 0]);
  assertLessOrEqual(clock.now(), 30_000);
});

Deno.test("settle() ends a pass that outlasts its time", async () => {
  const clock = new FakeClock();
  const settling = settle((_, signal) => {
    const { promise, resolve } = Promise.withResolvers<Report>();
    signal.addEventListener("abort", () => resolve(reportOf("aborted")));
    return promise;
  }, { clock, budget: 30_000 });
  assertEquals([await clock.until(settling), clock.now()], [false, 30_000]);
});

Deno.test("settle() ends at once when the signal aborts", async () => {
  const stop = new AbortController();
  const clock = new FakeClock();
  let passes = 0;
  const settling = settle(() => {
    passes++;
    return Promise.resolve(reportOf("locked"));
  }, { clock, budget: 30_000, signal: stop.signal });
  await clock.advance(10);
  stop.abort();
  assertEquals([await settling, clock.waiting], [false, 0]);
  assertLessOrEqual(passes, 2);
});

Deno.test("settle() succeeds when the xtables lock is held for 3 s", async () => {
  const node = new FakeNode();
  node.lockedUntil = 3000;
  const ended = await node.clock.until(settleNode(node));
  assertEquals(ended, true);
  assertEquals(node.dump().split("\n").length, 7);
  assertLessOrEqual(node.clock.now(), 6000);
  assertEquals(node.running.size, 0);
});

Deno.test("settle() gives up after its time when the xtables lock is held for ever", async () => {
  const node = new FakeNode();
  node.lockedUntil = Infinity;
  assertEquals(await node.clock.until(settleNode(node)), false);
  assertEquals(node.dump(), "ip address add 10.96.0.2/32 dev lo scope host\n");
  assert(node.clock.now() > 20_000 && node.clock.now() <= 31_000, `${node.clock.now()}ms`);
});

Deno.test("settle() wins against a program that removes the rules a few times", async () => {
  const node = new FakeNode();
  node.lose.push(/ -A /);
  const settling = settleNode(node);
  await node.clock.advance(1000);
  node.lose.pop();
  assertEquals(await node.clock.until(settling), true);
  assertEquals(node.dump().split("\n").length, 7);
});

function settleNode(node: FakeNode): Promise<boolean> {
  const wanted = desired(configFrom("--ip-address=10.96.0.2 --setup-iptables"), "present");
  const place = { runner: node, commandTimeout: 10_000 };
  const { addresses, rules } = tools(place, wanted, { backend: "legacy" });
  return settle((_, signal) => {
    return pass(place, [addresses, ...rules], { signal });
  }, { clock: node.clock, budget: 30_000 });
}

type Step = "ok" | "drift" | "hopeless" | FailureKind;

interface Settled {
  /** The cause of each pass. */
  readonly said: readonly string[];
  readonly ended: boolean;
  readonly clock: FakeClock;
}

async function settleWith(steps: readonly Step[]): Promise<Settled> {
  const clock = new FakeClock();
  const said: string[] = [];
  const settling = settle((cause) => {
    said.push(cause);
    return Promise.resolve(reportOf(steps[said.length - 1] ?? "ok"));
  }, { clock, budget: 30_000 });
  return { said, ended: await clock.until(settling), clock };
}

function reportOf(step: Step): Report {
  const item = { kind: "link", name: "lo" } as const;
  const ok = step === "ok";
  const repairs = step === "drift" ? [{ command: "link set dev lo up" }] : [];
  const looked = ok || step === "drift" || step === "hopeless";
  const error = looked ? undefined : new CommandError(["ip"], { kind: step, said: "" });
  const finding = looked ? { item, state: "present", ok, repairs } as const : undefined;
  return { items: [{ item, before: finding, after: finding, error }], ok, duration: 1, commands: [] };
}

import { assert, assertEquals } from "@std/assert";
import { monotonicClock } from "../../lib/clock.ts";
import { backoff } from "../../lib/clock.ts";
import { Loop, type LoopOptions, type Outcome, type Request } from "../../lib/daemon/loop.ts";
import { FakeClock, settled } from "../support/fake_clock.ts";

Deno.test("Loop.run() makes a pass at the start and at each interval", async () => {
  await using run = start();
  await run.clock.advance(0);
  assertEquals(run.passes, ["0 start"]);
  await run.clock.advance(59_999);
  assertEquals(run.passes.length, 1);
  await run.clock.advance(120_001);
  assertEquals(run.passes, ["0 start", "60000 interval", "120000 interval", "180000 interval"]);
});

Deno.test("Loop.run() counts the interval from the start of a pass", async () => {
  await using run = start({ takes: 5000 });
  await run.clock.advance(130_000);
  assertEquals(run.passes, ["0 start", "60000 interval", "120000 interval"]);
});

Deno.test("Loop.run() makes the next pass at once when one took longer than the interval", async () => {
  await using run = start({ takes: 90_000 });
  await run.clock.advance(200_000);
  assertEquals(run.passes, ["0 start", "90000 interval", "180000 interval"]);
});

Deno.test("Loop.run() waits for intervals that no timer can hold", async () => {
  const month = 31 * 24 * 3_600_000;
  await using run = start({ interval: month });
  await run.clock.advance(month - 1);
  assertEquals(run.passes, ["0 start"]);
  await run.clock.advance(1);
  assertEquals(run.passes, ["0 start", `${month} interval`]);
});

Deno.test("Loop.run() tries again with growing waits after failures, up to ten seconds", async () => {
  await using run = start({ outcomes: Array(12).fill({ ok: false }) });
  await run.clock.advance(200_000);
  assertEquals(new Set(run.passes.slice(1, 12).map((pass) => pass.replace(/^\S+ /, ""))), new Set(["retry"]));
  const times = run.passes.map((pass) => Number(pass.split(" ")[0]));
  [1, 2, 4, 8, 10, 10, 10].forEach((longest, index) => {
    const wait = ((times[index + 1] ?? 0) - (times[index] ?? 0)) / 1000;
    assert(wait >= longest / 2 && wait <= longest, `wait ${index} is ${wait} s, not ${longest / 2} to ${longest} s`);
  });
});

Deno.test("Loop.run() goes back to the interval, and to the first wait, after a pass that went well", async () => {
  await using run = start({ outcomes: [{ ok: false }, { ok: false }, { ok: false }, { ok: true }, { ok: false }] });
  await run.clock.advance(100_000);
  const times = run.passes.map((pass) => Number(pass.split(" ")[0]));
  assertEquals(run.passes.slice(0, 5).map((pass) => pass.replace(/^\S+ /, "")), [
    "start",
    "retry",
    "retry",
    "retry",
    "interval",
  ]);
  assertEquals((times[4] ?? 0) - (times[3] ?? 0), 60_000);
  assert((times[5] ?? Infinity) - (times[4] ?? 0) <= 1000, `${times}`);
});

Deno.test("Loop.run() never waits longer after a failure than the interval", async () => {
  await using run = start({ interval: 300, outcomes: Array(5).fill({ ok: false }) });
  await run.clock.advance(1500);
  assert(run.passes.length >= 5, run.passes.join());
});

Deno.test("Loop.request() makes a pass at once, for what was asked", async () => {
  await using run = start();
  await run.clock.advance(10_000);
  run.loop.request("event");
  await run.clock.advance(0);
  run.loop.request("signal");
  await run.clock.advance(49_999);
  assertEquals(run.passes, ["0 start", "10000 event", "10000 signal"]);
});

Deno.test("Loop.request() does not put off the next full pass when it was for a part", async () => {
  await using run = start();
  for (let time = 10_000; time <= 50_000; time += 10_000) {
    await run.clock.advance(10_000);
    run.loop.request("event");
  }
  await run.clock.advance(10_000);
  assertEquals(run.passes.at(-1), "60000 interval");
});

Deno.test("Loop.request() makes one pass of requests that come during a pass", async () => {
  await using run = start({ takes: 1000 });
  await run.clock.advance(500);
  run.loop.request("event");
  run.loop.request("event");
  await run.clock.advance(1000);
  assertEquals(run.passes, ["0 start", "1000 event"]);
  run.loop.request("event");
  run.loop.request("signal");
  await run.clock.advance(10_000);
  assertEquals(run.passes, ["0 start", "1000 event", "2000 event"]);
});

Deno.test("Loop.request() says when it was made", async () => {
  const at: number[] = [];
  await using run = start({ takes: 1000, onPass: (request) => at.push(request.at) });
  await run.clock.advance(400);
  run.loop.request("event");
  await run.clock.advance(200);
  run.loop.request("event");
  await run.clock.advance(5000);
  assertEquals(at, [0, 400]);
});

Deno.test("Loop.request() makes a few passes at once, and then no more than its gap allows", async () => {
  await using run = start();
  await run.clock.advance(10_000);
  for (let time = 0; time < 1000; time += 10) {
    run.loop.request("event");
    await run.clock.advance(10);
  }
  const times = run.passes.slice(1).map((pass) => Number(pass.split(" ")[0]) - 10_000);
  assertEquals(times.slice(0, 4), [0, 10, 20, 30]);
  assert(times.length >= 12 && times.length <= 14, `${times}`);
  assertEquals(times.slice(4).every((time, index) => time - (times[index + 3] ?? 0) >= 60), true, `${times}`);
});

Deno.test("Loop.request() is not lost when it comes before the start", async () => {
  const clock = new FakeClock();
  const passes: Request[] = [];
  const loop = new Loop({
    clock,
    interval: 60_000,
    pass: (request) => {
      passes.push(request);
      return Promise.resolve({ ok: true });
    },
  });
  loop.request("signal");
  const stop = new AbortController();
  const running = loop.run(stop.signal);
  await clock.advance(1000);
  stop.abort();
  await running;
  assertEquals(passes.length, 1);
});

Deno.test("Loop.run() makes another pass when the last one asked for it", async () => {
  await using run = start({ outcomes: [{ ok: true, again: 250 }, { ok: true }] });
  await run.clock.advance(30_000);
  assertEquals(run.passes.map((pass) => pass.split(" ")[0]), ["0", "250"]);
});

Deno.test("Loop.run() ends at once when it is stopped while it waits", async () => {
  const run = start();
  await run.clock.advance(1000);
  run.stop.abort();
  await run.running;
  assertEquals([run.passes, run.clock.waiting], [["0 start"], 0]);
});

Deno.test("Loop.run() ends at once when it is stopped while it holds back passes", async () => {
  const run = start();
  await run.clock.advance(1000);
  for (let count = 0; count < 6; count++) {
    run.loop.request("event");
    await run.clock.advance(0);
  }
  const { length } = run.passes;
  run.stop.abort();
  await run.running;
  assertEquals([run.passes.length, run.clock.waiting], [length, 0]);
});

Deno.test("Loop.run() ends after the pass when it is stopped during one, which it tells", async () => {
  let aborted = false;
  const run = start({ takes: 60_000, onPass: (_, signal) => signal.addEventListener("abort", () => aborted = true) });
  await run.clock.advance(1000);
  run.loop.request("event");
  run.stop.abort();
  await run.running;
  assertEquals([run.passes, aborted, run.clock.waiting], [["0 start"], true, 0]);
});

Deno.test("Loop.run() makes no pass when it is stopped before", async () => {
  const run = start({ signal: AbortSignal.abort() });
  await run.running;
  assertEquals(run.passes, []);
});

Deno.test("backoff() doubles up to its limit, less up to half at random", () => {
  const limits = { first: 100, max: 2000 };
  for (
    const [attempt, longest] of [[1, 100], [2, 200], [3, 400], [5, 1600], [6, 2000], [7, 2000], [1e9, 2000]] as const
  ) {
    const waits = Array.from({ length: 200 }, () => backoff(attempt, limits));
    assert(waits.every((wait) => wait >= longest / 2 && wait <= longest), `attempt ${attempt}`);
    assert(Math.max(...waits) - Math.min(...waits) > longest / 10, `attempt ${attempt} is not random`);
  }
});

Deno.test("monotonicClock.delay() waits for long times in pieces that a timer can hold", async () => {
  const asked: number[] = [];
  await withTimers((run, ms) => {
    asked.push(ms);
    queueMicrotask(run);
  }, () => monotonicClock.delay(2 ** 32 + 5));
  assertEquals(asked, [2 ** 31 - 1, 2 ** 31 - 1, 7]);
});

Deno.test("monotonicClock.delay() ends without error when the signal aborts, before or meanwhile", async () => {
  await monotonicClock.delay(60_000, AbortSignal.abort());
  const stop = new AbortController();
  const waiting = monotonicClock.delay(2 ** 40, stop.signal);
  await settled();
  stop.abort();
  await waiting;
  assertEquals(await monotonicClock.delay(0), undefined);
  assertEquals(await monotonicClock.delay(-5), undefined);
});

Deno.test("monotonicClock.now() only goes forward", () => {
  const first = monotonicClock.now();
  assert(monotonicClock.now() >= first);
});

interface StartOptions {
  readonly interval?: number;
  /** How long each pass takes. */
  readonly takes?: number;
  /** How the passes end, in order; all is well after that. */
  readonly outcomes?: readonly Outcome[];
  readonly onPass?: LoopOptions["pass"] extends (...args: infer A) => unknown ? (...args: A) => unknown : never;
  readonly signal?: AbortSignal;
}

interface Run extends AsyncDisposable {
  readonly clock: FakeClock;
  readonly loop: Loop;
  readonly stop: AbortController;
  /** When, why and about what each pass was made. */
  readonly passes: readonly string[];
  readonly running: Promise<void>;
}

function start({ interval = 60_000, takes = 0, outcomes = [], onPass, signal }: StartOptions = {}): Run {
  const clock = new FakeClock();
  const stop = new AbortController();
  const passes: string[] = [];
  const loop = new Loop({
    clock,
    interval,
    async pass(request, signal) {
      passes.push(`${Math.round(clock.now())} ${request.cause}`);
      onPass?.(request, signal);
      const outcome = outcomes[passes.length - 1] ?? { ok: true };
      await clock.delay(takes, signal);
      return outcome;
    },
  });
  const running = loop.run(signal ?? stop.signal);
  return {
    clock,
    loop,
    stop,
    passes,
    running,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      assertEquals(clock.waiting, 0);
    },
  };
}

/** Does something with other timers than the machine's. */
async function withTimers(start: (run: () => void, ms: number) => void, work: () => Promise<void>): Promise<void> {
  const { setTimeout } = globalThis;
  let id = 0;
  const replacement = (run: () => void, ms = 0) => {
    start(run, ms);
    return ++id;
  };
  Object.assign(globalThis, { setTimeout: replacement });
  try {
    await work();
  } finally {
    Object.assign(globalThis, { setTimeout });
  }
}

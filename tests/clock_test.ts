import { assert, assertEquals, assertRejects } from "@std/assert";
import { monotonicClock } from "../lib/clock.ts";
import { FakeClock, settled } from "./support/fake_clock.ts";

Deno.test("monotonicClock.now() counts milliseconds, and only goes forward", () => {
  let last = monotonicClock.now();
  for (let count = 0; count < 1000; count++) {
    const now = monotonicClock.now();
    assert(now >= last);
    last = now;
  }
});

Deno.test("monotonicClock.delay() resolves when the time is over, and not before", async () => {
  const started = monotonicClock.now();
  await monotonicClock.delay(3);
  assert(monotonicClock.now() - started >= 2.9);
});

Deno.test("monotonicClock.delay() resolves at once for no time and for time that is over", async () => {
  for (const ms of [0, -1, -Infinity]) assertEquals(await monotonicClock.delay(ms), undefined);
});

Deno.test("monotonicClock.delay() resolves at once when the signal has aborted, and leaves no timer", async () => {
  for (const ms of [1, 2 ** 31, Infinity]) assertEquals(await monotonicClock.delay(ms, AbortSignal.abort()), undefined);
});

Deno.test("monotonicClock.delay() resolves when the signal aborts meanwhile, whatever the reason", async () => {
  for (const ms of [60_000, 2 ** 40, Infinity]) {
    for (const reason of [undefined, "stopped", new TypeError("stopped"), null]) {
      const stop = new AbortController();
      const waiting = monotonicClock.delay(ms, stop.signal);
      await settled();
      stop.abort(reason);
      assertEquals(await waiting, undefined);
    }
  }
});

Deno.test("monotonicClock.timeout() does not abort at once for a time that is too long for a timer", async () => {
  const signals = [2 ** 31, 2 ** 40, Infinity].map((ms) => monotonicClock.timeout(ms));
  const sooner = monotonicClock.timeout(20);
  await new Promise((resolve) => sooner.addEventListener("abort", resolve));
  assertEquals(signals.map(({ aborted }) => aborted), [false, false, false]);
});

Deno.test("FakeClock.advance() fires timers in the order of their times", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const wait = (ms: number) => clock.delay(ms).then(() => fired.push(`${ms} at ${clock.now()}`));
  const all = [wait(30), wait(10), wait(20), wait(10)];
  await clock.advance(25);
  assertEquals([fired, clock.now(), clock.waiting], [["10 at 10", "10 at 10", "20 at 20"], 25, 1]);
  await clock.advance(5);
  await Promise.all(all);
  assertEquals([fired.at(-1), clock.delays], ["30 at 30", [30, 10, 20, 10]]);
});

Deno.test("FakeClock.until() lets as much time pass as the work needs, and fails when that waits for something else", async () => {
  const clock = new FakeClock();
  assertEquals(await clock.until(clock.delay(50).then(() => clock.delay(70)).then(() => "done")), "done");
  assertEquals(clock.now(), 120);
  await assertRejects(() => clock.until(new Promise(() => {})), Error, "nothing waits for time to pass");
  await assertRejects(() => clock.until(Promise.reject(new TypeError("of the work"))), TypeError, "of the work");
});

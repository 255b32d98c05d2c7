import { assertEquals } from "@std/assert";
import { localTime, wallClock } from "../../lib/log/time.ts";

/** What a wallClock() says, to the microsecond, for each reading of the wall clock and the steady one. */
function readings(...clocks: readonly (readonly [wall: number, steady: number])[]): number[] {
  let [[wall, steady] = [0, 0]] = clocks;
  const now = wallClock(() => wall, () => steady, 949.875);
  return clocks.map((reading) => {
    [wall, steady] = reading;
    return Math.round(now() * 1000) / 1000;
  });
}

Deno.test("wallClock() takes the milliseconds from the wall clock and the digits below from the steady one", () => {
  assertEquals(
    readings([1000, 50.25], [1000, 50.5], [1000, 50.75], [1001, 51], [1001, 51.5], [1001, 51.75], [1002, 52], [
      1009,
      59,
    ]),
    [1000.125, 1000.375, 1000.625, 1001, 1001.5, 1001.75, 1002, 1009],
  );
});

Deno.test("wallClock() never leaves the wall clock's millisecond when that is set or the machine slept", () => {
  assertEquals(
    readings([1000, 0.5], [9_000_000, 0.75], [9_000_000, 1], [500, 1.25], [501, 2.25], [501, 4.5], [502, 4.75]),
    [1000, 9_000_000, 9_000_000.25, 500.999, 501.999, 501.999, 502.249],
  );
});

Deno.test("wallClock() is the time of the machine", () => {
  const clock = wallClock();
  const [before, now, after] = [Date.now(), clock(), Date.now()];
  assertEquals([before <= now, now < after + 1], [true, true]);
});

Deno.test("localTime() shows local time, whatever the season", () => {
  const summer = new Date(2026, 6, 9, 8, 5, 3, 42).getTime();
  const winter = new Date(2026, 10, 1, 23, 59, 59, 7).getTime();
  assertEquals([summer + 0.999, winter].map(localTime), ["2026-07-09T08:05:03.042", "2026-11-01T23:59:59.007"]);
});

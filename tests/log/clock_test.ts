import { assertEquals } from "@std/assert";
import { WallClock } from "../../lib/log/clock.ts";

/** What a WallClock says, to the microsecond, for each reading of the wall clock and the steady one. */
function readings(...clocks: readonly (readonly [wall: number, steady: number])[]): number[] {
  let [[wall, steady] = [0, 0]] = clocks;
  const clock = new WallClock({ wall: () => wall, steady: () => steady, origin: 949.875 });
  return clocks.map((reading) => {
    [wall, steady] = reading;
    return Math.round(clock.now() * 1000) / 1000;
  });
}

Deno.test("WallClock.now() takes the milliseconds from the wall clock and the digits below from the steady one", () => {
  assertEquals(
    readings([1000, 50.25], [1000, 50.5], [1000, 50.75], [1001, 51], [1001, 51.5], [1001, 51.75], [1002, 52], [
      1009,
      59,
    ]),
    [1000.125, 1000.375, 1000.625, 1001, 1001.5, 1001.75, 1002, 1009],
  );
});

Deno.test("WallClock.now() never leaves the wall clock's millisecond when that is set or the machine slept", () => {
  assertEquals(
    readings([1000, 0.5], [9_000_000, 0.75], [9_000_000, 1], [500, 1.25], [501, 2.25], [501, 4.5], [502, 4.75]),
    [1000, 9_000_000, 9_000_000.25, 500.999, 501.999, 501.999, 502.249],
  );
});

Deno.test("WallClock.now() is the time of the machine", () => {
  const clock = new WallClock();
  const [before, now, after] = [Date.now(), clock.now(), Date.now()];
  assertEquals([before <= now, now < after + 1], [true, true]);
});

import { assertEquals } from "@std/assert";
import { Recurring, repeatText } from "../../lib/log/repeat.ts";

const MINUTE = 60_000;

Deno.test("Recurring.report() is said first, and then at distances that double up to an hour", () => {
  let now = 0;
  const failures = new Recurring({ now: () => now });
  const said: string[] = [];
  for (; now < 5 * 60 * MINUTE; now += MINUTE) {
    const repeat = failures.report("lock");
    if (repeat !== undefined) said.push(repeatText(repeat));
  }
  assertEquals(said, [
    "1 time in 0s",
    "2 times in 1m",
    "4 times in 3m",
    "8 times in 7m",
    "16 times in 15m",
    "32 times in 31m",
    "64 times in 1h3m",
    "124 times in 2h3m",
    "184 times in 3h3m",
    "244 times in 4h3m",
  ]);
});

Deno.test("Recurring.report() keeps keys apart", () => {
  const failures = new Recurring({ now: () => 0 });
  assertEquals(failures.report("a"), { times: 1, since: 0 });
  assertEquals(failures.report("b"), { times: 1, since: 0 });
  assertEquals(failures.report("a"), undefined);
});

Deno.test("Recurring.over() tells how often and how long, once, and what comes then is new", () => {
  let now = 5;
  const failures = new Recurring({ now: () => now });
  assertEquals(failures.over("lock"), undefined);
  failures.report("lock");
  now += 10_000;
  failures.report("lock");
  now += 10_000;
  assertEquals(failures.over("lock"), { times: 2, since: 20_000 });
  assertEquals(failures.over("lock"), undefined);
  assertEquals(failures.report("lock"), { times: 1, since: 0 });
});

Deno.test("repeatText() shows two units at most", () => {
  const spans = [0, 499, 500, 59_499, 59_500, 37 * MINUTE, 60 * MINUTE, 61 * MINUTE, 50 * 60 * MINUTE];
  assertEquals(
    spans.map((since) => repeatText({ times: 37, since }).replace("37 times in ", "")),
    ["0s", "0s", "1s", "59s", "1m", "37m", "1h", "1h1m", "50h"],
  );
});

import { assertEquals, assertThrows } from "@std/assert";
import { formatDuration, parseDuration } from "../../lib/config/duration.ts";

const ACCEPTED = ": a duration is numbers with units (ns, us, ms, s, m, h), such as 1m30s";

Deno.test("parseDuration() reads what Go's time.ParseDuration reads", () => {
  const cases: readonly [string, number][] = [
    ["0", 0],
    ["+0", 0],
    ["-0", 0],
    ["0s", 0],
    ["1m0s", 60_000],
    ["1h2m3.5s", 3_723_500],
    [".5s", 500],
    ["5.s", 5_000],
    ["-1.5h", -5_400_000],
    ["+5s", 5_000],
    ["500ms", 500],
    ["1us", 0.001],
    ["1µs", 0.001],
    ["1μs", 0.001],
    ["1ns", 0.000001],
    ["1.9ns", 0.000001],
    ["3s2h", 7_203_000],
    ["1s1s", 2_000],
    ["0.3333333333333333333333h", 1_199_999.999999],
    ["2562047h47m16.854775807s", 9_223_372_036_854.775],
    ["9223372036854775807ns", 9_223_372_036_854.775],
    ["-9223372036854775808ns", -9_223_372_036_854.775],
  ];
  assertEquals<unknown>(cases.map(([text]) => [text, parseDuration(text)]), cases);
});

Deno.test("parseDuration() rejects what Go's time.ParseDuration rejects", () => {
  const cases: readonly [string, string][] = [
    ["", 'Cannot parse duration "": it is empty'],
    ["-", 'Cannot parse duration "-": it is empty'],
    ["5", 'Cannot parse duration "5": a unit is missing'],
    ["1.", 'Cannot parse duration "1.": a unit is missing'],
    ["1.2.3s", 'Cannot parse duration "1.2.3s": a unit is missing'],
    ["5d", 'Cannot parse duration "5d": unit "d" is unknown'],
    ["1e3s", 'Cannot parse duration "1e3s": unit "e" is unknown'],
    ["1S", 'Cannot parse duration "1S": unit "S" is unknown'],
    ["1 s", 'Cannot parse duration "1 s": unit " s" is unknown'],
    ["1h-2m", 'Cannot parse duration "1h-2m": unit "h-" is unknown'],
    ["s", 'Cannot parse duration "s": a number is missing'],
    [".s", 'Cannot parse duration ".s": a number is missing'],
    ["--1s", 'Cannot parse duration "--1s": a number is missing'],
    ["1s ", 'Cannot parse duration "1s ": unit "s " is unknown'],
    ["9223372036854775808ns", 'Cannot parse duration "9223372036854775808ns": it is longer than 292 years'],
    ["-9223372036854775809ns", 'Cannot parse duration "-9223372036854775809ns": it is longer than 292 years'],
    ["2562048h", 'Cannot parse duration "2562048h": it is longer than 292 years'],
    ["\x1b[2Js", 'Cannot parse duration "\\x1b[2Js": a number is missing'],
  ];
  assertEquals<unknown>(
    cases.map(([text]) => [text, assertThrows(() => parseDuration(text), SyntaxError).message]),
    cases.map(([text, message]) => [text, message + ACCEPTED]),
  );
});

Deno.test("parseDuration() shortens a very long value in its message", () => {
  const { message } = assertThrows(() => parseDuration("9".repeat(100_000)), SyntaxError);
  assertEquals(message, `Cannot parse duration "${"9".repeat(80)}…": a unit is missing${ACCEPTED}`);
});

Deno.test("formatDuration() writes what Go's Duration.String() writes", () => {
  const cases: readonly [number, string][] = [
    [0, "0s"],
    [-0, "0s"],
    [0.0000001, "0s"],
    [0.000001, "1ns"],
    [0.0015, "1.5µs"],
    [0.1, "100µs"],
    [1, "1ms"],
    [1.5, "1.5ms"],
    [500, "500ms"],
    [-500, "-500ms"],
    [1_000, "1s"],
    [10_000, "10s"],
    [60_000, "1m0s"],
    [3_600_000, "1h0m0s"],
    [3_723_500, "1h2m3.5s"],
    [-90_000, "-1m30s"],
    [2_592_000_000, "720h0m0s"],
    [9_223_372_036_854, "2562047h47m16.854s"],
  ];
  assertEquals<unknown>(cases.map(([ms]) => [ms, formatDuration(ms)]), cases);
});

Deno.test("formatDuration() rejects what is not a finite number", () => {
  for (const ms of [NaN, Infinity, -Infinity]) assertThrows(() => formatDuration(ms), RangeError);
});

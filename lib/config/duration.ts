import { quote, shorten, ValueError } from "../text.ts";

const NANOSECONDS: ReadonlyMap<string, bigint> = new Map([
  ["ns", 1n],
  ["us", 1_000n],
  ["µs", 1_000n], // U+00B5, micro sign
  ["μs", 1_000n], // U+03BC, Greek letter mu
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);

const ACCEPTED = "a duration is numbers with units (ns, us, ms, s, m, h), such as 1m30s";

// Go keeps a duration in an int64 of nanoseconds, which is a little over 292 years either way.
const MAX = 2n ** 63n - 1n;

/**
 * Reads a duration as Go's {@link https://pkg.go.dev/time#ParseDuration | time.ParseDuration} does: an optional sign,
 * then decimal numbers, each with its unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), such as `1h2m3.5s`, `-.5s` or `0`.
 *
 * @returns Milliseconds; below one for `us` and `ns`.
 * @throws {ValueError} (a SyntaxError) If the text is anything else, or beyond 292 years.
 */
export function parseDuration(text: string): number {
  const fail = (reason: string) => new ValueError("duration", text, `${reason}: ${ACCEPTED}`);
  const negative = text.startsWith("-");
  const unsigned = text.replace(/^[-+]/, "");
  if (unsigned === "0") return 0;
  if (unsigned === "") throw fail("it is empty");
  let sum = 0n;
  for (const [, whole = "", dot, decimals = "", name = ""] of unsigned.matchAll(/(\d*)(\.?)(\d*)([^.\d]*)/g)) {
    if (whole + dot + decimals + name === "") continue; // the end of the text
    if (whole + decimals === "") throw fail("a number is missing");
    if (name === "") throw fail("a unit is missing");
    const unit = NANOSECONDS.get(name);
    if (unit === undefined) throw fail(`unit ${quote(shorten(name))} is unknown`);
    // 18 decimals are more than the largest unit has use for.
    const fraction = decimals.slice(0, 18);
    sum += BigInt(whole) * unit + BigInt(fraction) * unit / 10n ** BigInt(fraction.length);
    if (sum > MAX + (negative ? 1n : 0n)) throw fail("it is longer than 292 years");
  }
  return toMilliseconds(negative ? -sum : sum);
}

/**
 * Writes a duration as Go does: `1m0s`, `500ms`, `1h2m3.5s`, `0s`.
 *
 * @param ms Milliseconds; what is below a nanosecond is rounded.
 * @throws {RangeError} If it is not a finite number.
 */
export function formatDuration(ms: number): string {
  const signed = BigInt(Math.trunc(ms)) * 1_000_000n + BigInt(Math.round((ms % 1) * 1e6));
  const sign = signed < 0n ? "-" : "";
  const ns = signed < 0n ? -signed : signed;
  if (ns === 0n) return "0s";
  if (ns < 1_000n) return `${sign}${ns}ns`;
  if (ns < 1_000_000n) return `${sign}${decimal(ns, 3)}µs`;
  if (ns < 1_000_000_000n) return `${sign}${decimal(ns, 6)}ms`;
  const minutes = ns / 60_000_000_000n;
  const hours = minutes / 60n;
  return sign + (hours > 0n ? `${hours}h` : "") + (minutes > 0n ? `${minutes % 60n}m` : "") +
    `${decimal(ns % 60_000_000_000n, 9)}s`;
}

// Divided in two steps, since nanoseconds of a hundred days no longer fit a number.
function toMilliseconds(ns: bigint): number {
  return Number(ns / 1_000_000n) + Number(ns % 1_000_000n) / 1e6;
}

/** `value` / 10^`places`, without trailing zeros. */
function decimal(value: bigint, places: number): string {
  const digits = value.toString().padStart(places + 1, "0");
  return `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/\.?0+$/, "");
}

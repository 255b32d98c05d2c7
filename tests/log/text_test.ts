import { assertEquals } from "@std/assert";
import { textFormat, type TextOptions } from "../../lib/log/text.ts";
import type { KlogRecord } from "../../lib/log/record.ts";
import { HEADER, START } from "../support/logging.ts";

function line(record: Partial<KlogRecord> = {}, options: Partial<TextOptions> = {}): string {
  return textFormat({ pid: 4242, ...options })({
    category: ["apiserver-proxy-sidecar", "address"],
    level: "info",
    message: [],
    rawMessage: "Added address",
    timestamp: START,
    properties: {},
    callSite: { file: "address.ts", directory: "lib", line: 12 },
    ...record,
  });
}

/** What follows `key=`. */
function shown(value: unknown): string {
  return line({ rawMessage: "", properties: { key: value } }, { skipHeaders: true }).replace(/^ key=/, "");
}

Deno.test("textFormat() writes a line of klog", () => {
  assertEquals(
    line({ properties: { address: "10.96.0.2", interface: "lo", attempt: 3, seconds: 0.25, isNew: true } }),
    'I0709 08:05:03.000042    4242 address.ts:12] Added address address="10.96.0.2" interface="lo" attempt=3 ' +
      "seconds=0.25 isNew=true\n",
  );
});

Deno.test("textFormat() begins with the letter of the severity", () => {
  const levels = ["trace", "debug", "info", "warning", "error", "fatal"] as const;
  assertEquals(levels.map((level) => line({ level })[0]).join(""), "IIIWEF");
});

Deno.test("textFormat() aligns the process id in 7 columns, and does not cut a longer one", () => {
  assertEquals(line({}, { pid: 1 }), "I0709 08:05:03.000042       1 address.ts:12] Added address\n");
  assertEquals(line({}, { pid: 4194304 }), "I0709 08:05:03.000042 4194304 address.ts:12] Added address\n");
  assertEquals(line({}, { pid: 12345678 }), "I0709 08:05:03.000042 12345678 address.ts:12] Added address\n");
});

Deno.test("textFormat() pads each part of the time", () => {
  const time = new Date(2026, 10, 1, 23, 59, 59, 7).getTime();
  assertEquals(line({ timestamp: time }), "I1101 23:59:59.007000    4242 address.ts:12] Added address\n");
  assertEquals(line({ timestamp: time + 0.999 }), "I1101 23:59:59.007999    4242 address.ts:12] Added address\n");
});

Deno.test("textFormat() shows the directory when asked to, and question marks when it knows no call site", () => {
  assertEquals(
    line({}, { addDirHeader: true }),
    "I0709 08:05:03.000042    4242 lib/address.ts:12] Added address\n",
  );
  assertEquals(
    line({ callSite: undefined }, { addDirHeader: true }),
    "I0709 08:05:03.000042    4242 ???:1] Added address\n",
  );
});

Deno.test("textFormat() leaves the header out when asked to", () => {
  assertEquals(line({ properties: { a: 1 } }, { skipHeaders: true }), "Added address a=1\n");
});

Deno.test("textFormat() shows an error first, with its causes, as err", () => {
  const error = new Error("Cannot list rules", { cause: new TypeError("lock is held", { cause: "by 12" }) });
  assertEquals(
    line({ level: "error", rawMessage: "Pass failed", properties: { attempt: 2, error } }),
    'E0709 08:05:03.000042    4242 address.ts:12] Pass failed err="Cannot list rules: lock is held: by 12" attempt=2\n',
  );
});

Deno.test("textFormat() keeps a record of several lines on one", () => {
  const hostile = 'a\nI0709 08:05:03.000042    4242 x.ts:1] forged\r\x1b[2J\x7f\x85\u2028\u202e\ud800 ü→😀 "q" \\';
  assertEquals(
    line({ rawMessage: hostile, properties: { [hostile.slice(0, 2)]: hostile } }),
    "I0709 08:05:03.000042    4242 address.ts:12] " +
      'a\\nI0709 08:05:03.000042    4242 x.ts:1] forged\\r\\x1b[2J\\x7f\\u0085\\u2028\\u202e\\ud800 ü→😀 "q" \\ ' +
      'a\\n="a\\nI0709 08:05:03.000042    4242 x.ts:1] forged\\r\\x1b[2J\\x7f\\u0085\\u2028\\u202e\\ud800 ü→😀 \\"q\\" \\\\"\n',
  );
});

Deno.test("textFormat() shows a value of any kind", () => {
  const cycle: Record<string, unknown> = { name: "a" };
  cycle.self = cycle;
  const values: [unknown, string][] = [
    ["", '""\n'],
    [0, "0\n"],
    [-1.5, "-1.5\n"],
    [NaN, "NaN\n"],
    [12345678901234567890n, "12345678901234567890\n"],
    [false, "false\n"],
    [null, "null\n"],
    [undefined, "\n"],
    [["-w", "5\n\x7f"], '["-w","5\\n\\u007f"]\n'],
    [{ a: { b: [1n, undefined, NaN] } }, '{"a":{"b":[1,null,"NaN"]}}\n'],
    [new Map([["a", 1]]), '{"a":1}\n'],
    [new Set([1]), "[1]\n"],
    [new Date(0), '"1970-01-01T00:00:00.000Z"\n'],
    [new TextEncoder().encode("raw\n"), '"raw\\n"\n'],
    [new Error("broken"), '"broken"\n'],
    [cycle, '{"name":"a","self":"[cycle]"}\n'],
    [Symbol("s"), '"Symbol(s)"\n'],
    [() => 1, '"[function]"\n'],
  ];
  assertEquals(values.map(([value]) => shown(value)), values.map(([, text]) => text));
});

Deno.test("textFormat() takes braces in a message for what they are", () => {
  assertEquals(
    line({ rawMessage: "Got {address} {*}", properties: { address: 1 } }),
    `I${HEADER.replace("test.ts:7", "address.ts:12")}Got {address} {*} address=1\n`,
  );
});

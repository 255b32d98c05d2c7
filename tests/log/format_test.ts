import { assertEquals } from "@std/assert";
import { type Entry, jsonFormat, textFormat, type TextOptions } from "../../lib/log/format.ts";
import { HEADER, START } from "../support/logging.ts";

const ENTRY: Entry = {
  severity: "INFO",
  message: "Added address",
  time: START,
  properties: {},
  callSite: { file: "address.ts", directory: "lib", line: 12 },
};

function line(entry: Partial<Entry> = {}, options: Partial<TextOptions> = {}): string {
  return textFormat({ pid: 4242, skipHeaders: false, addDirHeader: false, ...options })({ ...ENTRY, ...entry });
}

function json(entry: Partial<Entry> = {}): string {
  return jsonFormat({ ...ENTRY, time: 1783584303000.042, ...entry });
}

/** What follows `key=`. */
function shown(value: unknown): string {
  return line({ message: "", properties: { key: value } }, { skipHeaders: true }).replace(/^ key=/, "");
}

Deno.test("textFormat() writes a line of klog", () => {
  assertEquals(
    line({ properties: { address: "10.96.0.2", interface: "lo", attempt: 3, seconds: 0.25, isNew: true } }),
    'I0709 08:05:03.000042    4242 address.ts:12] Added address address="10.96.0.2" interface="lo" attempt=3 ' +
      "seconds=0.25 isNew=true\n",
  );
});

Deno.test("textFormat() begins with the letter of the severity", () => {
  const severities = ["INFO", "WARNING", "ERROR", "FATAL"] as const;
  assertEquals(severities.map((severity) => line({ severity })[0]).join(""), "IWEF");
});

Deno.test("textFormat() aligns the process id in 7 columns, and does not cut a longer one", () => {
  assertEquals(line({}, { pid: 1 }), "I0709 08:05:03.000042       1 address.ts:12] Added address\n");
  assertEquals(line({}, { pid: 4194304 }), "I0709 08:05:03.000042 4194304 address.ts:12] Added address\n");
  assertEquals(line({}, { pid: 12345678 }), "I0709 08:05:03.000042 12345678 address.ts:12] Added address\n");
});

Deno.test("textFormat() pads each part of the time", () => {
  const time = new Date(2026, 10, 1, 23, 59, 59, 7).getTime();
  assertEquals(line({ time }), "I1101 23:59:59.007000    4242 address.ts:12] Added address\n");
  assertEquals(line({ time: time + 0.999 }), "I1101 23:59:59.007999    4242 address.ts:12] Added address\n");
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
    line({ severity: "ERROR", message: "Pass failed", properties: { attempt: 2, error } }),
    'E0709 08:05:03.000042    4242 address.ts:12] Pass failed err="Cannot list rules: lock is held: by 12" attempt=2\n',
  );
});

Deno.test("textFormat() keeps a record of several lines on one", () => {
  const hostile = 'a\nI0709 08:05:03.000042    4242 x.ts:1] forged\r\x1b[2J\x7f\x85\u2028\u202e\ud800 ü→😀 "q" \\';
  assertEquals(
    line({ message: hostile, properties: { [hostile.slice(0, 2)]: hostile } }),
    "I0709 08:05:03.000042    4242 address.ts:12] " +
      'a\\nI0709 08:05:03.000042    4242 x.ts:1] forged\\r\\x1b[2J\\x7f\\u0085\\u2028\\u202e\\ud800 ü→😀 "q" \\ ' +
      'a\\n="a\\nI0709 08:05:03.000042    4242 x.ts:1] forged\\r\\x1b[2J\\x7f\\u0085\\u2028\\u202e\\ud800 ü→😀 \\"q\\" \\\\"\n',
  );
});

Deno.test("textFormat() shows a value of any kind", () => {
  const values: [unknown, string][] = [
    ["", '""\n'],
    [0, "0\n"],
    [-1.5, "-1.5\n"],
    [NaN, "NaN\n"],
    [false, "false\n"],
    [undefined, "\n"],
    [["-w", "5\n\x7f"], '["-w","5\\n\\u007f"]\n'],
    [[["a"], 1, true], '[["a"],1,true]\n'],
  ];
  assertEquals(values.map(([value]) => shown(value)), values.map(([, text]) => text));
});

Deno.test("textFormat() shows whatever was thrown", () => {
  const cycle = new Error("a");
  cycle.cause = cycle;
  const thrown: [unknown, string][] = [
    [new Error("broken"), "broken"],
    [new TypeError(""), "TypeError"],
    [new AggregateError([new Error("b"), "c"], "all"), "all: b; c"],
    [cycle, `${"a: ".repeat(8)}…`],
    ["text", "text"],
    [null, "null"],
    [12n, "12"],
    [Symbol("s"), "Symbol(s)"],
  ];
  assertEquals(
    thrown.map(([error]) => line({ message: "", properties: { error } }, { skipHeaders: true })),
    thrown.map(([, text]) => ` err="${text}"\n`),
  );
});

Deno.test("textFormat() takes braces in a message for what they are", () => {
  assertEquals(
    line({ message: "Got {address} {*}", properties: { address: 1 } }),
    `I${HEADER.replace("test.ts:7", "address.ts:12")}Got {address} {*} address=1\n`,
  );
});

Deno.test("jsonFormat() writes the keys of Kubernetes components, then the record's own", () => {
  assertEquals(
    json({ v: 2, properties: { address: "10.96.0.2", attempt: 3, args: ["-w", "5"], none: undefined } }),
    '{"ts":1783584303000.042,"caller":"address.ts:12","msg":"Added address","v":2,"address":"10.96.0.2","attempt":3,' +
      '"args":["-w","5"]}\n',
  );
});

Deno.test("jsonFormat() tells severities apart: v is in infos only, err in errors only, warnings have neither", () => {
  const error = new Error("no", { cause: new Error("lock is held") });
  const lines = (["INFO", "WARNING", "ERROR", "FATAL"] as const).flatMap((severity) => [
    json({ severity, message: "m" }),
    json({ severity, message: "m", properties: { error } }),
  ]);
  const common = '{"ts":1783584303000.042,"caller":"address.ts:12","msg":"m"';
  assertEquals(lines, [
    `${common},"v":0}\n`,
    `${common},"v":0,"error":"no: lock is held"}\n`,
    `${common}}\n`,
    `${common},"error":"no: lock is held"}\n`,
    `${common},"err":null}\n`,
    `${common},"err":"no: lock is held"}\n`,
    `${common},"err":null}\n`,
    `${common},"err":"no: lock is held"}\n`,
  ]);
});

Deno.test("jsonFormat() lets no property take the place of a fixed key", () => {
  const properties = { ts: 1, caller: 2, msg: 3, v: 4, error: "why", stack: 6, other: 7 };
  assertEquals(
    json({ severity: "ERROR", properties, stack: "run" }),
    '{"ts":1783584303000.042,"caller":"address.ts:12","msg":"Added address","err":"why","stack":"run","v":4,"other":7}\n',
  );
});

Deno.test("jsonFormat() is one printable line that parses", () => {
  const hostile = "\n\r\x00\x1b[2J\x7f\x9b\u2028\u202e\ud800 😀\u{e0001}";
  const text = json({ message: hostile, properties: { hostile, [hostile]: 1, nan: NaN, list: [hostile] } });
  const escaped = "\\n\\r\\u0000\\u001b[2J\\u007f\\u009b\\u2028\\u202e\\ud800 😀\\udb40\\udc01";
  assertEquals(
    text,
    `{"ts":1783584303000.042,"caller":"address.ts:12","msg":"${escaped}","v":0,"hostile":"${escaped}","${escaped}":1,` +
      `"nan":null,"list":["${escaped}"]}\n`,
  );
  assertEquals(JSON.parse(text).msg, hostile);
});

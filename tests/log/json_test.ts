import { assertEquals } from "@std/assert";
import { jsonFormat } from "../../lib/log/json.ts";
import type { KlogRecord } from "../../lib/log/record.ts";

function line(record: Partial<KlogRecord> = {}): string {
  return jsonFormat()({
    category: ["apiserver-proxy-sidecar", "address"],
    level: "info",
    message: [],
    rawMessage: "Added address",
    timestamp: 1783584303000.042,
    properties: {},
    callSite: { file: "address.ts", directory: "lib", line: 12 },
    v: 0,
    ...record,
  });
}

Deno.test("jsonFormat() writes the keys of Kubernetes components, then the record's own", () => {
  assertEquals(
    line({ v: 2, properties: { address: "10.96.0.2", attempt: 3, args: ["-w", "5"], none: undefined } }),
    '{"ts":1783584303000.042,"caller":"address.ts:12","msg":"Added address","v":2,"address":"10.96.0.2","attempt":3,' +
      '"args":["-w","5"]}\n',
  );
});

Deno.test("jsonFormat() tells severities apart: v is in infos only, err in errors only, warnings have neither", () => {
  const error = new Error("no", { cause: new Error("lock is held") });
  const lines = (["info", "warning", "error", "fatal"] as const).flatMap((level) => [
    line({ level, rawMessage: "m" }),
    line({ level, rawMessage: "m", properties: { error } }),
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

Deno.test("jsonFormat() gives no property the name of a fixed key, nor twice the same name", () => {
  const properties = { ts: 1, caller: 2, msg: 3, v: 4, err: 5, stack: 6, v_: 7, ["__proto__"]: 8 };
  assertEquals(
    line({ properties, stack: "run" }),
    '{"ts":1783584303000.042,"caller":"address.ts:12","msg":"Added address","v":0,"stack":"run","ts_":1,"caller_":2,' +
      '"msg_":3,"v_":4,"err_":5,"stack_":6,"v__":7,"__proto__":8}\n',
  );
});

Deno.test("jsonFormat() is one printable line that parses for any value", () => {
  const cycle: unknown[] = [];
  cycle.push(cycle);
  const error = new Error("a");
  error.cause = error;
  const deep = JSON.parse("[".repeat(2000) + "]".repeat(2000));
  const hostile = "\n\r\x00\x1b[2J\x7f\x9b\u2028\u202e\ud800 😀\u{e0001}";
  const text = line({
    level: "error",
    rawMessage: hostile,
    properties: {
      big: 2n ** 70n,
      small: 7n,
      nan: NaN,
      cycle,
      deep,
      error,
      hostile,
      none: null,
      errors: new AggregateError([new Error("b"), "c"], "all"),
      throwing: {
        get x() {
          throw new Error("no");
        },
      },
      json: {
        toJSON() {
          throw new RangeError("no");
        },
      },
      prototypeless: Object.create(null),
      [hostile]: 1,
    },
  });
  const escaped = "\\n\\r\\u0000\\u001b[2J\\u007f\\u009b\\u2028\\u202e\\ud800 😀\\udb40\\udc01";
  assertEquals(
    text,
    `{"ts":1783584303000.042,"caller":"address.ts:12","msg":"${escaped}","err":"a: …","big":"1180591620717411303424",` +
      `"small":7,"nan":"NaN","cycle":["[cycle]"],"deep":[[[[[[[["[…]"]]]]]]]],"hostile":"${escaped}","none":null,` +
      `"errors":"all: b; c","throwing":"[unreadable]","json":"[unreadable]","prototypeless":{},"${escaped}":1}\n`,
  );
  assertEquals(JSON.parse(text).msg, hostile);
});

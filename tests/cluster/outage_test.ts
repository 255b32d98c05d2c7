import { assertEquals } from "@std/assert";
import { outageOf, percentile } from "./outage.ts";

Deno.test("outageOf() measures from the first try that failed to the first one after the last", () => {
  const at = (times: number[], failing: number[]) => outageOf(times.map((at) => ({ at, ok: !failing.includes(at) })));
  assertEquals(at([0, 1, 2, 3, 4], []), { tries: 5, failed: 0, ms: 0, every: 1, over: true });
  assertEquals(at([0, 2, 4, 6, 8], [2, 6]), { tries: 5, failed: 2, ms: 6, every: 2, over: true });
  assertEquals(at([0, 1, 2], [1, 2]), { tries: 3, failed: 2, ms: 1, every: 1, over: false });
});

Deno.test("percentile() is the nearest rank", () => {
  assertEquals(percentile([3, 1, 2], 0.5), 2);
  assertEquals(percentile([1, 2, 3, 4], 0.99), 4);
});

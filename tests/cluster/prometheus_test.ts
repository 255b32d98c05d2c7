import { assertEquals } from "@std/assert";
import { hasten } from "./prometheus.ts";

Deno.test("hasten() shortens what rules wait for, and their ranges, and nothing else", () => {
  assertEquals(
    hasten(
      'expr: increase(a{b="5m"}[1h]) > 2 unless count_over_time((c > 0)[6h:1m]) > 5\n    for: 10m\n    x: 10m\n',
      30,
    ),
    'expr: increase(a{b="5m"}[120s]) > 2 unless count_over_time((c > 0)[720s:2s]) > 5\n    for: 20s\n    x: 10m\n',
  );
});

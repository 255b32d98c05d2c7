import { assertEquals } from "@std/assert";
import { globRegExp, verbosityOf } from "../../lib/log/verbosity.ts";

Deno.test("verbosityOf() is the larger of -v and the first match of --vmodule", () => {
  const vmodule = [{ module: /^ip/, level: 4 }, { module: /^iptables$/, level: 9 }, { module: /^loop$/, level: 1 }];
  assertEquals(
    ["iptables", "ip", "loop", "reconcile"].map((module) => verbosityOf(module, { verbosity: 2, vmodule })),
    [4, 4, 2, 2],
  );
  assertEquals(verbosityOf("iptables", { verbosity: 0, vmodule: [{ module: /.*/, level: 0 }, ...vmodule] }), 0);
});

Deno.test("globRegExp() matches as filepath.Match of Go does", () => {
  const cases: [string, string, boolean][] = [
    ["address", "address", true],
    ["address", "address2", false],
    ["addr", "address", false],
    ["", "", true],
    ["*", "", true],
    ["a*s", "address", true],
    ["a*d", "address", false],
    ["?", "é", true],
    ["?", "😀", true],
    ["?", "", false],
    ["i[pq]", "ip", true],
    ["i[^pq]", "ip", false],
    ["i[a-q]", "ip", true],
    ["i[a-o]", "ip", false],
    ["[\\]a]", "]", true],
    ["[\\-x]", "-", true],
    ["[\\d]", "5", false],
    ["[\\d]", "d", true],
    ["[(&&.]", "&", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["\\d", "5", false],
    ["a.b+(c)|d$", "a.b+(c)|d$", true],
    ["a.b", "axb", false],
  ];
  assertEquals(cases.map(([glob, text]) => [glob, text, globRegExp(glob)?.test(text)]), cases);
});

Deno.test("globRegExp() refuses what filepath.Match refuses", () => {
  for (const glob of ["[", "a[b", "[]", "[^]", "a\\", "[a\\", "[b-a]"]) {
    assertEquals(globRegExp(glob), undefined, glob);
  }
});

import { assertEquals } from "@std/assert";
import { rules } from "../../lib/desired/rules.ts";
import { judge, normaliseSpec } from "../../lib/node/iptables_judge.ts";
import { FROM, TO } from "../support/texts.ts";

Deno.test("normaliseSpec() knows the other spellings of NOTRACK and of IPv6 addresses", () => {
  const cases = [
    [`${TO} -j NOTRACK`, `${TO} -j NOTRACK`],
    [`${TO} -j CT --notrack`, `${TO} -j NOTRACK`],
    [`${TO} -j CT --notrack --zone 1`, `${TO} -j CT --notrack --zone 1`],
    ["-d ::1.2.3.4/128 -p tcp -m tcp --dport 443 -j ACCEPT", "-d ::102:304/128 -p tcp -m tcp --dport 443 -j ACCEPT"],
    ["-s ::1.2.3.4/128 -j CT --notrack", "-s ::102:304/128 -j NOTRACK"],
    ["-s fd00:96::2/128 -j ACCEPT", "-s fd00:96::2/128 -j ACCEPT"],
    ["-s fd00:96::/64 -j ACCEPT", "-s fd00:96::/64 -j ACCEPT"],
  ] as const;
  assertEquals(cases.map(([spec]) => normaliseSpec(spec)), cases.map(([, normal]) => normal));
});

/** The rules of raw OUTPUT, and one more of the same chain. */
const OWN = [443, 444].flatMap((port) => rules({ family: 4, ip: "10.96.0.2" }, port))
  .filter(({ table, chain }) => table === "raw" && chain === "OUTPUT").slice(0, 3);
const [A = "", B = "", C = ""] = OWN.map(({ spec }) => spec);

Deno.test("judge() proposes commands that give the right order when they are typed one after the other", () => {
  const foreign = "-p icmp -j ACCEPT";
  const cases: readonly (readonly [before: readonly string[], after: readonly string[]])[] = [
    [[], [A, B, C]],
    [[foreign], [A, B, C, foreign]],
    [[foreign, B, B], [A, C, foreign, B]],
    [[B, B], [A, C, B]],
    [[A, A, foreign], [B, C, A, foreign]],
    [[C, A, B, A, B, C], [C, A, B]],
    [[C, C], [A, B, C]],
    [[foreign, C, foreign, C], [A, B, foreign, C, foreign]],
  ];
  for (const [before, after] of cases) {
    const findings = judge(OWN, "present", [{ table: "raw", chain: "OUTPUT", specs: before }]);
    const typed = findings.flatMap(({ repairs }) => repairs.map(({ command, typed = command }) => typed));
    assertEquals(typed.reduce(run, before), after, typed.join("\n"));
  }
  assertEquals([A, B], [`${TO} -j NOTRACK`, `${FROM} -j NOTRACK`]);
});

/** A chain after one `-I` or `-D`. */
function run(specs: readonly string[], command: string): readonly string[] {
  const [, verb, position, spec = ""] = /^-([ID]) OUTPUT (?:(\d+) )?(.*)$/.exec(command) ?? [];
  const index = verb === "I" ? Number(position ?? 1) - 1 : specs.indexOf(spec);
  assertEquals(index >= 0 && index <= specs.length, true, command);
  return verb === "I" ? specs.toSpliced(index, 0, spec) : specs.toSpliced(index, 1);
}

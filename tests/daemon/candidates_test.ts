import { assert, assertEquals } from "@std/assert";
import { Candidates, type End } from "../../lib/daemon/candidates.ts";
import { desired } from "../../lib/desired/desired.ts";
import { CommandError } from "../../lib/node/command_error.ts";
import { addressMonitor, type Monitor, NFT_MONITOR } from "../../lib/node/monitor.ts";
import { configOf } from "../support/reports.ts";

const IP = addressMonitor(desired(configOf(), "present"));
const DIED: End = { error: undefined, listenedMs: 10, last: "unknown" };
const MISSING = new CommandError(NFT_MONITOR.argv, { kind: "missing-program", said: "" });

/** The programs that run one after the other, with the longest pause before each, when all end the same way. */
function lives(monitors: readonly Monitor[], end: End, count: number): [string, number][] {
  let now = 0;
  const candidates = new Candidates(monitors, () => now);
  const found: [string, number][] = [];
  let next = candidates.first;
  for (let i = 0; i < count && next !== undefined; i++) {
    const pause = Math.max(0, next.at - now);
    found.push([next.monitor.program, pause]);
    now += pause;
    next = candidates.after(next, end);
  }
  return found;
}

Deno.test("Candidates take turns when both die, each with growing pauses of its own", () => {
  const found = lives([IP, NFT_MONITOR], DIED, 6);
  assertEquals(found.slice(0, 2), [["ip", 0], ["nft", 0]]);
  assertEquals(new Set(found.slice(2).map(([program]) => program)), new Set(["ip", "nft"]));
  assert(found.slice(2).every(([, pause]) => pause <= 800), `${found}`);
});

Deno.test("Candidates stay with one that lost events, and leave one that cannot read them", () => {
  const programs = (last: End["last"]) => lives([IP, NFT_MONITOR], { ...DIED, last }, 3).map(([program]) => program);
  assertEquals(programs("lost"), ["ip", "ip", "ip"]);
  assertEquals(programs("unreadable").slice(0, 2), ["ip", "nft"]);
});

Deno.test("Candidates end when none is installed", () => {
  assertEquals(lives([IP, NFT_MONITOR], { ...DIED, error: MISSING }, 9), [["ip", 0], ["nft", 0]]);
});

Deno.test("Candidates let one that never listened wait for a minute, and ever longer", () => {
  const pauses = lives([NFT_MONITOR], { ...DIED, listenedMs: undefined }, 12).map(([, pause]) => pause / 60_000);
  assert(pauses[1]! >= 0.5 && pauses[1]! <= 1, `${pauses}`);
  assert(pauses[11]! >= 30 && pauses[11]! <= 60, `${pauses}`);
});

import { assert, assertEquals } from "@std/assert";
import { Damping } from "../../lib/reconcile/damping.ts";
import { type Address, desired, type Item } from "../../lib/desired/desired.ts";
import type { Report } from "../../lib/reconcile/reconcile.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { configOf, type Found, reportOf } from "../support/reports.ts";

const config = configOf("--setup-iptables");
const { link, addresses: [address], rules: [rule, otherRule] } = desired(config, "present");
const LOST: Found = { before: "missing" };

Deno.test("Damping.learn() gives no pause for the first four losses", () => {
  const { damping } = start();
  for (let lost = 1; lost <= 4; lost++) {
    assertEquals(damping.learn(reportOf(config, { address: LOST })), []);
    assertEquals(stateOf(damping), { holds: false, damps: false, damped: 0, again: undefined });
  }
});

Deno.test("Damping.learn() tells once that a fight begins, with how often and how long", async () => {
  const { damping, clock } = start();
  const events = [];
  for (let lost = 1; lost <= 30; lost++) {
    if (lost > 1) await clock.advance(1500);
    events.push(...damping.learn(reportOf(config, { address: LOST })));
  }
  assertEquals(events, [{ item: address!, lost: 5, since: 6000, over: false }]);
  assertEquals(stateOf(damping), { holds: true, damps: true, damped: 1, again: 1000 });
});

Deno.test("Damping.holds() is true for pauses that double from 125 ms to a second", async () => {
  const { damping, clock } = start();
  lose(damping, 4);
  for (const pause of [125, 250, 500, 1000, 1000, 1000]) {
    lose(damping);
    assertEquals(stateOf(damping), { holds: true, damps: true, damped: 1, again: pause });
    await clock.advance(pause - 1);
    assertEquals(stateOf(damping), { holds: true, damps: true, damped: 1, again: 1 });
    await clock.advance(1);
    assertEquals(stateOf(damping), { holds: false, damps: true, damped: 1, again: 10_000 - pause });
  }
});

Deno.test("Damping.holds() is true for a second at most when something was lost 100,000 times", () => {
  const { damping } = start();
  const report = reportOf(config, { address: LOST });
  for (let lost = 0; lost < 100_000; lost++) damping.learn(report);
  assertEquals(stateOf(damping), { holds: true, damps: true, damped: 1, again: 1000 });
});

Deno.test("Damping.learn() tells once that a fight is over, after ten seconds of peace", async () => {
  const { damping, clock } = start();
  lose(damping, 4);
  await clock.advance(700);
  lose(damping, 2);
  await clock.advance(9999);
  assertEquals(damping.learn(reportOf(config, { address: {} })), []);
  assertEquals(stateOf(damping), { holds: false, damps: true, damped: 1, again: 1 });
  await clock.advance(1);
  assertEquals(damping.learn(reportOf(config, { address: {} })), [{ item: address!, lost: 6, since: 700, over: true }]);
  assertEquals(stateOf(damping), { holds: false, damps: false, damped: 0, again: undefined });
  await clock.advance(60_000);
  assertEquals(damping.learn(reportOf(config, { address: {} })), []);
});

Deno.test("Damping.learn() tells of no end when there was no fight", async () => {
  const { damping, clock } = start();
  lose(damping, 4);
  await clock.advance(60_000);
  assertEquals(damping.learn(reportOf(config, { address: {} })), []);
  lose(damping, 4);
  assertEquals(stateOf(damping), { holds: false, damps: false, damped: 0, again: undefined });
});

Deno.test("Damping.learn() counts anew when ten seconds lie between two losses, not before", async () => {
  for (const [spacing, damped] of [[10_000, 0], [9999, 1]] as const) {
    const { damping, clock } = start();
    for (let lost = 0; lost < 20; lost++) {
      lose(damping);
      await clock.advance(spacing);
    }
    assertEquals(damping.damped, damped, `${spacing}`);
  }
});

Deno.test("Damping.holds() is false for every other item", () => {
  const { damping } = start();
  lose(damping, 10);
  for (const item of [link, rule!, otherRule!, { ...address!, ip: "10.96.0.3" } satisfies Address]) {
    assertEquals([damping.holds(item), damping.damps(item)], [false, false], item.kind);
  }
});

Deno.test("Damping.learn() keeps the fights for several items apart", async () => {
  const { damping, clock } = start();
  lose(damping, 8);
  await clock.advance(900);
  const events = Array.from({ length: 5 }, () => damping.learn(only(rule!, reportOf(config, { rule: LOST })))).flat();
  assertEquals(events, [{ item: rule!, lost: 5, since: 0, over: false }]);
  assertEquals([damping.damped, damping.again()], [2, 100]);
  assertEquals([address!, rule!, otherRule!].map(damping.holds), [true, true, false]);
  await clock.advance(100);
  assertEquals([address!, rule!, otherRule!].map(damping.holds), [false, true, false]);
  assertEquals(damping.again(), 25);
  await clock.advance(9900);
  const over = damping.learn(reportOf(config, { address: {}, rule: {} }));
  assertEquals(over, [
    { item: address!, lost: 8, since: 0, over: true },
    { item: rule!, lost: 5, since: 0, over: true },
  ]);
  assertEquals([damping.damped, damping.again()], [0, undefined]);
});

Deno.test("Damping.learn() counts what was wrong or too many like what was missing", () => {
  for (const before of ["missing", "wrong", "surplus"] as const) {
    const { damping } = start();
    for (let lost = 0; lost < 5; lost++) damping.learn(reportOf(config, { address: { before } }));
    assertEquals(damping.damped, 1, before);
  }
});

Deno.test("Damping.learn() does not count what could not be looked at", () => {
  for (const found of [{ before: "unknown" }, { after: "unknown" }, {}] as const) {
    const { damping } = start();
    for (let lost = 0; lost < 50; lost++) damping.learn(reportOf(config, { address: found }));
    assertEquals(stateOf(damping), { holds: false, damps: false, damped: 0, again: undefined });
  }
});

Deno.test("Damping.learn() changes nothing for items that the pass did not look at", async () => {
  const { damping, clock } = start();
  lose(damping, 5);
  await clock.advance(20_000);
  assertEquals(damping.learn(reportOf(config, { rule: {} })), []);
  assertEquals(damping.damped, 1);
  assertEquals(damping.learn(reportOf(config, { address: {} })).map(({ over }) => over), [true]);
});

Deno.test("Damping.learn() does not count a pause, in which the item stays away", async () => {
  const { damping, clock } = start();
  lose(damping, 5);
  for (let held = 0; held < 5; held++) {
    assertEquals(damping.learn(reportOf(config, { address: { before: "missing", after: "missing" } })), []);
    await clock.advance(20);
  }
  assertEquals(stateOf(damping), { holds: true, damps: true, damped: 1, again: 25 });
});

// It is 0, which makes ten passes a second for as long as it lasts.
Deno.test(
  "Damping.again waits while what was fought about cannot be repaired",
  async () => {
    const { damping, clock } = start();
    lose(damping, 5);
    await clock.advance(60_000);
    damping.learn(reportOf(config, { address: { before: "missing", after: "missing" } }));
    assert((damping.again() ?? Infinity) >= 1000, `again in ${damping.again()} ms`);
  },
);

function start(): { readonly damping: Damping; readonly clock: FakeClock } {
  const clock = new FakeClock();
  return { damping: new Damping(clock.now), clock };
}

/** Loses the address some times. */
function lose(damping: Damping, times = 1): void {
  for (let lost = 0; lost < times; lost++) damping.learn(reportOf(config, { address: LOST }));
}

/** The report about one item. */
function only(item: Item, report: Report): Report {
  return { ...report, items: report.items.filter((it) => JSON.stringify(it.item) === JSON.stringify(item)) };
}

function stateOf(damping: Damping): Record<string, unknown> {
  const { damped } = damping;
  return { holds: damping.holds(address!), damps: damping.damps(address!), damped, again: damping.again() };
}

import { assertEquals } from "@std/assert";
import { type Address, desired, type Item } from "../../lib/desired/desired.ts";
import { Damping } from "../../lib/reconcile/damping.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { fakeLog } from "../support/fake_log.ts";
import { configOf, type Found, reportOf } from "../support/reports.ts";

const config = configOf("--setup-iptables");
const { link, addresses: [address], rules: [rule, otherRule] } = desired(config, "present");
const BEGINS = "W Something else keeps removing it: repairs get pauses of up to a second";
/** Losses further apart than this are no burst. */
const APART_MS = 200;

Deno.test("Damping.learn() gives no pause for the first four losses", async () => {
  const run = start();
  for (let lost = 1; lost <= 4; lost++) {
    assertEquals(await run.lose(), { holds: false, damped: false, again: undefined });
  }
});

Deno.test("Damping.learn() tells once that a fight begins, with how often and how long", async () => {
  await using log = await fakeLog();
  const run = start();
  for (let lost = 1; lost <= 30; lost++) await run.lose(1500);
  assertEquals(log.take(), [`${BEGINS} address="10.96.0.2/32" lost="5 times in 6s"`]);
  assertEquals(await run.lose(1500), { holds: true, damped: true, again: 1000 });
});

Deno.test("Damping.holds() is true for pauses that double from 125 ms to a second", async () => {
  const run = start();
  for (let lost = 1; lost <= 4; lost++) await run.lose();
  for (const pause of [125, 250, 500, 1000, 1000, 1000]) {
    assertEquals(await run.lose(), { holds: true, damped: true, again: pause });
    await run.clock.advance(pause - 1);
    assertEquals(run.damping.holds(address!), true);
    await run.clock.advance(1);
    assertEquals(run.damping.holds(address!), false);
  }
});

Deno.test("Damping.learn() counts the losses of a burst as one", async () => {
  const run = start();
  for (let burst = 1; burst <= 4; burst++) {
    for (let round = 0; round < 10; round++) {
      assertEquals(await run.lose(round === 0 ? APART_MS : 10), { holds: false, damped: false, again: undefined });
    }
  }
  assertEquals((await run.lose(APART_MS)).damped, true);
});

Deno.test("Damping.learn() takes a fight without pauses for one, however fast it is", async () => {
  const run = start();
  let lost = 0;
  while (!(await run.lose(20)).damped) lost++;
  assertEquals(lost, 4 * APART_MS / 20);
});

Deno.test("Damping.holds() is true for a second at most when something was lost 1,000 times", async () => {
  const run = start();
  for (let lost = 0; lost < 1000; lost++) await run.lose();
  assertEquals(await run.lose(), { holds: true, damped: true, again: 1000 });
});

Deno.test("Damping.learn() tells once that a fight is over, after ten seconds of peace", async () => {
  await using log = await fakeLog();
  const run = start();
  for (let lost = 1; lost <= 6; lost++) await run.lose();
  log.take();
  await run.clock.advance(9999);
  assertEquals(run.learn({ address: {} }).again, 1);
  assertEquals(log.take(), []);
  await run.clock.advance(1);
  assertEquals(run.learn({ address: {} }).again, undefined);
  assertEquals(log.take(), ['I Nothing removes it any more address="10.96.0.2/32" lost="6 times in 1s"']);
  await run.clock.advance(60_000);
  run.learn({ address: {} });
  assertEquals(log.take(), []);
});

Deno.test("Damping.learn() tells of no end when there was no fight", async () => {
  await using log = await fakeLog();
  const run = start();
  for (let lost = 1; lost <= 4; lost++) await run.lose();
  await run.clock.advance(60_000);
  run.learn({ address: {} });
  for (let lost = 1; lost <= 4; lost++) assertEquals((await run.lose()).damped, false);
  assertEquals(log.take(), []);
});

Deno.test("Damping.learn() counts anew when ten seconds lie between two losses, not before", async () => {
  for (const [spacing, damped] of [[10_000, false], [9999, true]] as const) {
    const run = start();
    for (let lost = 0; lost < 20; lost++) await run.lose(spacing);
    assertEquals((await run.lose(spacing)).damped, damped, `${spacing}`);
  }
});

Deno.test("Damping.holds() is false for every other item", async () => {
  const run = start();
  for (let lost = 0; lost < 10; lost++) await run.lose();
  const others: readonly Item[] = [link, rule!, otherRule!, { ...address!, ip: "10.96.0.3" } satisfies Address];
  assertEquals(others.map(run.damping.holds), [false, false, false, false]);
  assertEquals(run.learn({ rule: {} }).items.map(({ damped }) => damped), [false, false, false, false, false]);
});

Deno.test("Damping.learn() gives the time until the first of several pauses is over", async () => {
  const run = start();
  for (let lost = 0; lost < 8; lost++) await run.lose();
  await run.clock.advance(900);
  for (let lost = 0; lost < 5; lost++) {
    await run.clock.advance(APART_MS);
    run.learn({ rule: LOST });
  }
  assertEquals(run.learn({ link: {} }).again, 125);
});

Deno.test("Damping.learn() counts what was wrong or too many like what was missing", async () => {
  for (const before of ["missing", "wrong", "surplus"] as const) {
    const run = start();
    for (let lost = 0; lost < 5; lost++) await run.lose(APART_MS, { before });
    assertEquals(run.damping.holds(address!), true, before);
  }
});

Deno.test("Damping.learn() does not count what could not be looked at, nor what is added at the start", async () => {
  for (const found of [{ before: "unknown" }, { after: "unknown" }, {}] as const) {
    const run = start();
    for (let lost = 0; lost < 50; lost++) {
      assertEquals(await run.lose(APART_MS, found), { holds: false, damped: false, again: undefined });
    }
  }
  const run = start();
  for (let lost = 0; lost < 50; lost++) {
    await run.clock.advance(APART_MS);
    run.damping.learn(reportOf(config, { address: LOST }), "start");
  }
  assertEquals(run.damping.holds(address!), false);
});

Deno.test("Damping.learn() does not count a pause, in which the item stays away", async () => {
  const run = start();
  for (let lost = 0; lost < 5; lost++) await run.lose();
  for (let held = 1; held <= 5; held++) {
    await run.clock.advance(20);
    const { again } = run.learn({ address: { before: "missing", after: "missing" } });
    assertEquals(again, 125 - 20 * held);
  }
});

Deno.test("Damping.learn() asks for a pass at once when the pause ended during the one that left the item away", async () => {
  const more = { repairs: [{ command: "address add 10.96.0.2/32 dev lo" }] };
  const run = start();
  for (let lost = 0; lost < 5; lost++) await run.lose();
  // Within a burst, in which nothing is counted, and after it.
  for (const late of [125, 300]) {
    await run.clock.advance(late);
    const held = run.learn({ address: { before: "missing", after: "missing", more } });
    assertEquals(held.again, late === 125 ? 0 : 250);
    assertEquals(held.items[0]?.damped, true);
  }
});

Deno.test("Damping.learn() asks for no pass while what was fought about cannot be repaired", async () => {
  const run = start();
  for (let lost = 0; lost < 5; lost++) await run.lose();
  await run.clock.advance(60_000);
  assertEquals(run.learn({ address: { before: "missing", after: "missing" } }).again, undefined);
  assertEquals(run.learn({ address: { before: "missing", after: "unknown" } }).again, undefined);
});

const LOST: Found = { before: "missing" };

function start() {
  const clock = new FakeClock();
  const damping = new Damping(clock.now);
  const learn = (found: Parameters<typeof reportOf>[1]) => damping.learn(reportOf(config, found), "event");
  return {
    clock,
    damping,
    learn,
    /** Loses the address, some time after the last loss, and gives how it stands then. */
    async lose(afterMs = APART_MS, found = LOST) {
      await clock.advance(afterMs);
      const { items, again } = learn({ address: found });
      return { holds: damping.holds(address!), damped: items[0]?.damped, again };
    },
  };
}

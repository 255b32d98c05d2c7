import { assertEquals } from "@std/assert";
import { Health } from "../../lib/report/health.ts";
import type { Item } from "../../lib/desired/desired.ts";
import type { About } from "../../lib/reconcile/observer.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { ItemStates } from "../../lib/report/item_states.ts";
import type { Config } from "../../lib/config/config.ts";
import { configOf, type Found, itemsOf, reportOf } from "../support/reports.ts";

const config = configOf("--setup-iptables", "--sync-interval=20s", "--command-timeout=5s");
const ALL = { link: {}, address: {}, rule: {} };

/** Health, told of passes as the states are. */
function healthOf(config: Config, clock = new FakeClock()) {
  const states = new ItemStates(itemsOf(config));
  const health = new Health(config, states, clock);
  const onPass = (found: Partial<Record<Item["kind"], Found>>, ...abouts: readonly About[]) => {
    for (const about of abouts.length > 0 ? abouts : ["addresses", "rules"] as const) {
      states.onPass(reportOf(config, found));
      health.onPass(reportOf(config, found), { about });
    }
  };
  return { health, onPass };
}

function said(checks: Health["live"]): string[] {
  return checks.map(({ ok, said }) => `${ok ? "ok" : "failed"}: ${said}`);
}

Deno.test("Health.live holds for three intervals and one command after the start, and no longer", async () => {
  const clock = new FakeClock();
  const { health } = healthOf(config, clock);
  await clock.advance(65_000);
  assertEquals(said(health.live), both("ok", "1m5s since the start, without a pass, at most 1m5s are allowed"));
  await clock.advance(1);
  assertEquals(said(health.live), both("failed", "1m5.001s since the start, without a pass, at most 1m5s are allowed"));
});

Deno.test("Health.live holds as long after a pass, whether that ended well or badly", async () => {
  for (const found of [ALL, { link: { after: "unknown" } }] as const) {
    const clock = new FakeClock();
    const { health, onPass } = healthOf(config, clock);
    await clock.advance(100_000);
    onPass(found);
    await clock.advance(65_000);
    assertEquals(said(health.live), both("ok", "1m5s since a pass ended, at most 1m5s are allowed"));
    await clock.advance(1000);
    assertEquals(said(health.live), both("failed", "1m6s since a pass ended, at most 1m5s are allowed"));
  }
});

Deno.test("Health.live fails when passes over rules do not end, and those over addresses do", async () => {
  const clock = new FakeClock();
  const { health, onPass } = healthOf(config, clock);
  await clock.advance(66_000);
  onPass({ link: {}, address: {} }, "addresses");
  assertEquals(said(health.live), [
    "ok: addresses: 0s since a pass ended, at most 1m5s are allowed",
    "failed: rules: 1m6s since the start, without a pass, at most 1m5s are allowed",
  ]);
});

Deno.test("Health.ready fails before the first look", () => {
  assertEquals(said(healthOf(config).health.ready), [
    "ok: stop: not asked for",
    "failed: look: not done yet",
    "failed: link: 0 of 1 present",
    "failed: address: 0 of 1 present",
    "failed: rule: 0 of 5 present",
  ]);
});

Deno.test("Health.ready holds once everything was found, and says what is lost", () => {
  const { health, onPass } = healthOf(config);
  const rest = ["ok: stop: not asked for", "ok: look: done", "ok: link: 1 of 1 present"];
  onPass(ALL);
  assertEquals(said(health.ready), [...rest, "ok: address: 1 of 1 present", "ok: rule: 5 of 5 present"]);
  for (const after of ["missing", "wrong", "surplus", "unknown"] as const) {
    onPass({ link: {}, address: { after }, rule: {} });
    assertEquals(said(health.ready), [...rest, "failed: address: 0 of 1 present", "ok: rule: 5 of 5 present"]);
  }
});

Deno.test("Health.ready remembers what a pass did not look at", () => {
  const { health, onPass } = healthOf(config);
  onPass({ link: {}, address: {}, rule: { after: "missing" } });
  onPass({ link: {}, address: {} });
  assertEquals(health.ready.every(({ ok }) => ok), false);
  onPass({ rule: {} });
  assertEquals(health.ready.every(({ ok }) => ok), true);
});

Deno.test("Health.ready does not speak of rules where none are wanted", () => {
  const config = configOf();
  const { health, onPass } = healthOf(config);
  onPass(ALL);
  assertEquals(said(health.ready), [
    "ok: stop: not asked for",
    "ok: look: done",
    "ok: link: 1 of 1 present",
    "ok: address: 1 of 1 present",
  ]);
});

Deno.test("Health.ready fails from the stop on, whatever passes find then; live does not", () => {
  const { health, onPass } = healthOf(config);
  onPass(ALL);
  health.onStop();
  onPass(ALL);
  assertEquals(said(health.ready), [
    "failed: stop: asked for",
    "ok: look: done",
    "ok: link: 1 of 1 present",
    "ok: address: 1 of 1 present",
    "ok: rule: 5 of 5 present",
  ]);
  assertEquals(said(health.live), both("ok", "0s since a pass ended, at most 1m5s are allowed"));
});

function both(result: string, text: string): readonly string[] {
  return ["addresses", "rules"].map((scope) => `${result}: ${scope}: ${text}`);
}

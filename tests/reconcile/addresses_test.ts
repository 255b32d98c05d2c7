import { assertEquals } from "@std/assert";
import { desired } from "../../lib/desired/desired.ts";
import { AddressKeeper } from "../../lib/reconcile/addresses.ts";
import type { Report } from "../../lib/reconcile/pass.ts";
import { FakeNode } from "../support/fake_node.ts";
import { configOf } from "../support/reports.ts";

Deno.test("AddressKeeper.pass() waits for a link of somebody else's that goes, and fills it when it is back", async () => {
  const flags = ["--interface=eth9"];
  const { node, keeper } = start({ state: "ip link add name eth9 type bridge\nip link set dev eth9 up", flags });
  await keeper.pass("start");
  const there = node.dump();
  node.apply("ip link del dev eth9");
  for (const cause of ["event", "interval", "event"] as const) {
    const report = await keeper.pass(cause);
    assertEquals(statesOf(report), ["eth9 missing missing", "10.96.0.2 missing missing"]);
    assertEquals(report.items[0]?.after?.repairs, []);
    assertEquals(node.dump(), "");
  }
  node.apply("ip link add name eth9 type bridge\nip link set dev eth9 up");
  assertEquals((await keeper.pass("event")).ok, true);
  assertEquals(node.dump(), there);
});

Deno.test("AddressKeeper.pass() creates its own link again when it goes, of the type it was told", async () => {
  const { node, keeper } = start({ flags: ["--interface=proxy0"], linkType: "bridge" });
  await keeper.pass("start");
  const there = node.dump();
  assertEquals(there.split("\n").slice(0, 3), [
    "ip link add name proxy0 type bridge",
    "ip link set dev proxy0 alias apiserver-proxy-sidecar up",
    "ip address add 10.96.0.2/32 dev proxy0 scope global",
  ]);
  for (const cause of ["event", "interval"] as const) {
    node.apply("ip link del dev proxy0");
    assertEquals((await keeper.pass(cause)).ok, true);
    assertEquals(node.dump(), there);
  }
});

const BATCH = "ip -json -details -force -batch -";
const SHOW = "ip -json -details address show dev";

Deno.test("AddressKeeper.pass() asks a kept process at events, and a command at each other full look", async () => {
  const { node, keeper } = start({});
  for (const cause of ["start", "event", "interval", "retry", "poll", "signal", "event"] as const) {
    const { ok, commands } = await keeper.pass(cause);
    assertEquals([ok, commands.length], [true, 1]);
  }
  assertEquals(programsOf(node), [BATCH, `${SHOW} lo`, `${SHOW} lo`]);
  assertEquals(node.running.size, 1);
  await keeper[Symbol.asyncDispose]();
  assertEquals(node.running.size, 0);
});

Deno.test("AddressKeeper.pass() puts right what the look by a command shows, through a new process", async () => {
  const { node, keeper } = start({});
  await keeper.pass("start");
  node.apply("ip address add 10.96.0.2/24 dev lo scope host");
  assertEquals(statesOf(await keeper.pass("interval")), ["lo present present", "10.96.0.2 surplus present"]);
  assertEquals(programsOf(node), [BATCH, `${SHOW} lo`, BATCH]);
  node.garble.set("ip", "garbage\n");
  const { ok, items } = await keeper.pass("interval");
  assertEquals([ok, items[0]?.error?.kind], [false, "other"]);
  node.garble.clear();
  assertEquals((await keeper.pass("event")).ok, true);
  await keeper[Symbol.asyncDispose]();
});

Deno.test("AddressKeeper.pass() removes another prefix length at an event, but not what others hang on", async () => {
  const { node, keeper } = start({});
  await keeper.pass("start");
  const there = node.dump();
  node.apply("ip address add 10.96.0.2/24 dev lo scope host");
  assertEquals(statesOf(await keeper.pass("event")), ["lo present present", "10.96.0.2 surplus present"]);
  assertEquals(node.dump(), there);
  node.apply("ip address add 10.96.0.2/24 dev lo scope host\nip address add 10.96.0.9/24 dev lo scope host");
  const hanging = node.dump();
  assertEquals(statesOf(await keeper.pass("event")), ["lo present present", "10.96.0.2 present present"]);
  assertEquals(node.dump(), hanging);
  await keeper[Symbol.asyncDispose]();
});

Deno.test("AddressKeeper.pass() looks at other links at full looks if the address may have to be removed there", async () => {
  const { node, keeper } = start({ flags: ["--interface=proxy0"], linkType: "bridge" });
  for (const cause of ["start", "interval"] as const) assertEquals((await keeper.pass(cause)).ok, true);
  node.apply("ip link add name eth9 type bridge\nip link set dev eth9 up");
  assertEquals(programsOf(node), [BATCH, BATCH]);
  const foreign = new AddressKeeper(desired(configOf("--interface=eth9"), "present"), {
    runner: node,
    clock: node.clock,
    commandTimeout: 10_000,
  });
  for (const cause of ["start", "interval"] as const) assertEquals((await foreign.pass(cause)).ok, true);
  assertEquals(programsOf(node).slice(2), [BATCH, `${SHOW} eth9`]);
  await keeper[Symbol.asyncDispose]();
  await foreign[Symbol.asyncDispose]();
});

Deno.test("AddressKeeper.pass() takes no longer than one command may when `ip` does not answer", async () => {
  const { node, keeper } = start({});
  await keeper.pass("start");
  node.hang.add("ip");
  const report = await node.clock.until(keeper.pass("interval"));
  assertEquals([report.ok, node.clock.now()], [false, 10_000]);
  assertEquals(report.items.map(({ after, error }) => [after, error?.kind]), [
    [undefined, "timed-out"],
    [undefined, "timed-out"],
  ]);
  node.hang.clear();
  await keeper[Symbol.asyncDispose]();
});

Deno.test("AddressKeeper.pass() gives pauses to what is lost again and again, and to nothing else", async () => {
  const { node, keeper } = start({ flags: ["--ip-address=10.96.0.3"] });
  await keeper.pass("start");
  let again: number | undefined;
  for (let lost = 1; lost <= 5; lost++) {
    assertEquals(again, undefined);
    await node.clock.advance(200);
    node.apply("ip address del 10.96.0.2/32 dev lo");
    ({ again } = await keeper.pass("event"));
  }
  assertEquals(again, 125);
  node.apply("ip address del 10.96.0.2/32 dev lo\nip address del 10.96.0.3/32 dev lo");
  assertEquals(statesOf(await keeper.pass("event")), [
    "lo present present",
    "10.96.0.2 missing missing",
    "10.96.0.3 missing present",
  ]);
  await node.clock.advance(125);
  assertEquals((await keeper.pass("retry")).ok, true);
  await keeper[Symbol.asyncDispose]();
});

Deno.test("AddressKeeper.pass() goes on looking for what is surplus until it is gone", async () => {
  const flags = ["--interface=proxy0", "--ip-address=fd00:96::2"];
  const state = "ip address add 10.96.0.2/32 dev lo scope host\nip address add fd00:96::2/128 dev lo nodad";
  const { node, keeper } = start({ state, flags, linkType: "bridge" });
  node.refuse.push([/del 10\.96\.0\.2/, "RTNETLINK answers: Operation not permitted"]);
  const both = ["proxy0 present present", "10.96.0.2 surplus surplus", "fd00:96::2 surplus surplus"];
  const first = await keeper.pass("start");
  assertEquals(statesOf(first), ["proxy0 missing present", "10.96.0.2 missing surplus", "fd00:96::2 missing surplus"]);
  assertEquals(first.again, 1000);
  assertEquals(statesOf(await keeper.pass("event")), both);
  await node.clock.advance(1000);
  assertEquals(statesOf(await keeper.pass("retry")), [...both.slice(0, 2), "fd00:96::2 surplus present"]);
  node.refuse.length = 0;
  assertEquals((await keeper.pass("retry")).ok, true);
  assertEquals(node.dump().includes("dev lo"), false);
  // An event asks for no more than what is to be there.
  node.apply("ip address add 10.96.0.2/32 dev lo scope host");
  assertEquals((await keeper.pass("event")).ok, true);
  assertEquals((await keeper.pass("interval")).items[1]?.before?.state, "surplus");
  assertEquals(node.dump().includes("dev lo"), false);
});

interface StartOptions {
  readonly state?: string;
  readonly flags?: readonly string[];
  readonly linkType?: string;
}

function start(
  { state = "", flags = [], linkType }: StartOptions,
): { readonly node: FakeNode; readonly keeper: AddressKeeper } {
  const node = new FakeNode(state);
  const options = { runner: node, clock: node.clock, commandTimeout: 10_000, linkType };
  return { node, keeper: new AddressKeeper(desired(configOf(...flags), "present"), options) };
}

/** The command lines of what was started. */
function programsOf(node: FakeNode): readonly string[] {
  return node.processes.map(({ argv }) => argv.join(" "));
}

/** What each item is called, and how it stood before and after. */
function statesOf({ items }: Report): readonly string[] {
  return items.map(({ item, before, after }) => {
    const name = item.kind === "link" ? item.name : item.kind === "address" ? item.ip : item.chain;
    return `${name} ${before?.state} ${after?.state}`;
  });
}

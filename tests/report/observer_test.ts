import { assertEquals } from "@std/assert";
import type { CommandResult } from "../../lib/node/process.ts";
import { observeCommands, type Observer } from "../../lib/report/observer.ts";
import { reuseProcesses } from "../../lib/node/session.ts";
import { FakeNode } from "../support/fake_node.ts";

const IP = ["ip", "-json", "-details", "-force", "-batch", "-"];
const SHOW = "address show dev lo\n";
const isWhole = (stdout: string) => stdout.endsWith("]\n");

Deno.test("observeCommands() tells every observer of each command when it has ended", async () => {
  const told: string[] = [];
  const node = new FakeNode();
  const runner = observeCommands(node, [observer("a", told), {}, observer("b", told)]);
  const talk = runner.start(IP, { timeout: 1000 });
  assertEquals(isWhole(await talk.say(SHOW, isWhole) ?? ""), true);
  assertEquals(told, []);
  const result = await talk.end();
  assertEquals(told, ["a: ip undefined", "b: ip undefined"]);
  const { duration: _, ...rest } = result;
  assertEquals(rest, { argv: IP, stdout: "", stderr: "", linesBefore: 0, error: undefined });
});

Deno.test("observeCommands() tells how a command failed", async () => {
  const told: string[] = [];
  const node = new FakeNode();
  node.missing.add("iptables-nft-save");
  node.fail.set("ip", [2, "RTNETLINK answers: Operation not permitted\n"]);
  node.hang.add("iptables-legacy-save");
  const runner = observeCommands(node, [observer("a", told)]);
  for (const argv of [["iptables-nft-save"], IP, ["iptables-legacy-save"]]) {
    await node.clock.until(runner.start(argv, { timeout: 1000 }).end());
  }
  assertEquals(told, [
    "a: iptables-nft-save missing-program",
    "a: ip not-permitted",
    "a: iptables-legacy-save timed-out",
  ]);
});

Deno.test("observeCommands() tells of each conversation with a process that is kept, with its options passed on", async () => {
  const results: CommandResult[] = [];
  const node = new FakeNode();
  await using reused = reuseProcesses(node, () => true);
  const runner = observeCommands(reused, [{ onCommand: (result) => void results.push(result) }]);
  for (const fresh of [false, false, true, false]) {
    const talk = runner.start(IP, { timeout: 1000, fresh });
    await talk.say(SHOW, isWhole);
    await talk.end({ reusable: true });
  }
  assertEquals(results.map(({ linesBefore }) => linesBefore), [0, 1, 0, 1]);
  assertEquals(node.processes.length, 2);
});

Deno.test("observeCommands() passes on how long an answer may take", async () => {
  const node = new FakeNode();
  node.hang.add("ip");
  const talk = observeCommands(node, []).start(IP, { timeout: 60_000 });
  assertEquals(await node.clock.until(talk.say(SHOW, isWhole, 200)), undefined);
  assertEquals([node.clock.now(), (await talk.end()).error?.kind], [200, "timed-out"]);
});

function observer(name: string, told: string[]): Observer {
  return { onCommand: ({ argv, error }) => void told.push(`${name}: ${argv[0]} ${error?.kind}`) };
}

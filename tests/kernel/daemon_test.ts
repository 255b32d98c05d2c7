import { assertEquals } from "@std/assert";
import { kernelTest } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  BACKENDS,
  flags,
  Program,
  ruleLines,
  state,
  toolbox,
  WANTED,
} from "../support/program.ts";

/** The arguments of iptables for each of our rules, with the command that takes it, such as -D. */
function arguments_(command: string): string[][] {
  return ruleLines().map((line) => {
    const [table = "", , ...spec] = line.split(" ");
    return ["-t", table, command, ...spec];
  });
}

/** Puts the address there in another form, in one process: the daemon may repair in between. */
function readd(options: string): string[] {
  const lines = [`address del ${ADDRESS}/32 dev lo`, `address add ${ADDRESS}/32 dev lo ${options}`];
  return ["sh", "-c", `printf '%s\\n' "$@" | ip -batch -`, "sh", ...lines];
}

for (const backend of BACKENDS) {
  kernelTest(`${backend}: the daemon repairs at each interval whatever was done`, async (namespace) => {
    const iptables = [`iptables-${backend}`, "--wait"]; // the daemon takes the lock again and again
    const address = ["ip", "address"];
    const sabotages: string[][][] = [
      [[...address, "del", `${ADDRESS}/32`, "dev", "lo"]],
      [readd("scope global")],
      [readd(`scope host broadcast ${ADDRESS}`)],
      [[...address, "flush", "dev", "lo", "to", ADDRESS]],
      ...arguments_("-D").map((rule) => [[...iptables, ...rule]]),
      ...arguments_("-A").map((rule) => [[...iptables, ...rule], [...iptables, ...rule]]),
      [[...iptables, "-t", "raw", "-F", "PREROUTING"]],
      [[...iptables, "-t", "raw", "-F"], [...iptables, "-F"]],
    ];
    const path = await toolbox(namespace, { backend });
    const daemon = flags(backend, "--watch=false", "--sync-interval=50ms");
    await using program = await Program.start(namespace, daemon, { path });
    await program.reached(namespace, WANTED, backend);
    const wanted = await namespace.dump();
    for (const sabotage of sabotages) {
      for (const argv of sabotage) await namespace.ok(argv);
      // The order within a chain is that of repair: what is missing goes to the top.
      await program.until(async () =>
        assertEquals((await state(namespace, backend)).toSorted(), WANTED.toSorted(), `after ${sabotage.join("; ")}`)
      );
    }
    await namespace.ok([...iptables, "-t", "raw", "-F"]);
    await namespace.ok([...iptables, "-F"]);
    await program.reached(namespace, WANTED, backend);
    assertSameDump(await namespace.dump(), wanted);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertTidy(stderr);
  });
}

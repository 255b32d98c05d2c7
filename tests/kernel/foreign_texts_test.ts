/**
 * What others may write into their rules: texts and names of all bytes, and such as look like rules of ours.
 */
import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import { addedLines, ADDRESS, assertSameDump, BACKENDS, flags, ruleLines, runProgram } from "../support/program.ts";

const BYTES = Array.from({ length: 255 }, (_, index) => index + 1);
const OURS = ruleLines().map((line) => line.replace(/^\w+ /, ""));

/** Comments, of up to 255 bytes. */
const COMMENTS = [
  ...pieces(200).map(octal),
  `x\n# end of listing\n`,
  `x\n-P OUTPUT ACCEPT\n${OURS[4]}\n`,
  `x"\n${OURS[3]}`,
  `\\"\n${OURS[0]}\n`,
  "\\",
  "\n",
  `${OURS[1]}\nCOMMIT\n*filter\n`,
].map((text) => text.startsWith("\\0") ? text : octal([...new TextEncoder().encode(text)]));

for (const backend of BACKENDS) {
  kernelTest(`${backend}: texts and names that others wrote neither hide nor fake a rule`, async (node) => {
    await write(node, `iptables-${backend}`);
    const before = await node.dump();
    const first = await runProgram(node, [...flags(backend), "--daemon=false"], { backend });
    assertEquals(first.code, 0, first.stderr);
    const now = await node.dump();
    assertEquals(addedLines(before, now).filter((line) => line.startsWith("-A")).toSorted(), OURS.toSorted());
    const second = await runProgram(node, [...flags(backend), "--daemon=false"], { backend });
    assertEquals(second.code, 0, second.stderr);
    assertNotMatch(second.stderr, /^[WE]| Added /m);
    assertSameDump(await node.dump(), now);
    const check = await runProgram(node, [...flags(backend), "--check"], { backend });
    assertEquals(check.code, 0, check.stdout);
    const cleanup = await runProgram(node, [...flags(backend), "--daemon=false", "--cleanup"], { backend });
    assertEquals(cleanup.code, 0, cleanup.stderr);
    assertSameDump(await node.dump(), before);
  });
}

kernelTest("a comment that looks like the kubelet's chain is no hint", async (node) => {
  const comment = octal([...new TextEncoder().encode("x\n:KUBE-IPTABLES-HINT - [0:0]\n")]);
  await node.ok(["sh", "-e"], {
    stdin: `iptables-legacy -t mangle -A INPUT -m comment --comment "$(printf '%b' '${comment}')x" -j ACCEPT\n`,
  });
  const check = [`--ip-address=${ADDRESS}`, "--setup-iptables", "--check", "--output=json"];
  const { stdout } = await runProgram(node, check);
  assertEquals(JSON.parse(stdout).backend, "nft");
});

/** Writes rules of others into each chain that holds ours. */
async function write(node: Namespace, iptables: string): Promise<void> {
  const chains = ["raw PREROUTING", "raw OUTPUT", "filter INPUT", "filter OUTPUT"].map((name) => name.split(" "));
  const names = pieces(14).filter((bytes) => !bytes.includes(0x2f)).map(octal);
  const lines = chains.flatMap(([table, chain]) => [
    ...COMMENTS.map((comment) =>
      `-t ${table} -A ${chain} -p udp -m comment --comment "$(printf '%b' '${comment}z')" -j ACCEPT`
    ),
    ...chain === "OUTPUT"
      ? []
      : names.map((name) => `-t ${table} -A ${chain} -i "$(printf '%b' 'i${name}')" -j ACCEPT`),
  ]);
  const script = lines.map((line) => `${iptables} ${line}\n`).join("");
  // A name with a white space in it is warned of; what iptables itself refuses is no text that could stand there.
  await node.run(["sh"], { stdin: script });
  const listing = await node.ok([`${iptables}-save`]);
  assertStringIncludes(listing, '--comment "\x01\x02\x03');
  assertStringIncludes(listing, "-i i\x01\x02\x03");
  for (const chain of ["PREROUTING", "INPUT", "OUTPUT"]) {
    assertEquals(listing.split(`-A ${chain} -p udp`).length > COMMENTS.length, true, listing);
  }
}

function pieces(size: number): readonly (readonly number[])[] {
  return Array.from(
    { length: Math.ceil(BYTES.length / size) },
    (_, index) => BYTES.slice(index * size, (index + 1) * size),
  );
}

/** Bytes as printf(1) reads them. */
function octal(bytes: readonly number[]): string {
  return bytes.map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("");
}

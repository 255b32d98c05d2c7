import { assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { kernelTest, Namespace } from "../support/namespace.ts";

kernelTest("Namespace.create() makes a network with only lo in it, and a /run of its own", async (namespace) => {
  assertEquals(
    await namespace.ok(["ip", "-oneline", "-brief", "link"]),
    "lo               UNKNOWN        00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP> \n",
  );
  assertEquals(await namespace.ok(["ls", "-A", "/run"]), "");
  assertEquals(await namespace.ok(["id", "-u"]), "0\n");
});

kernelTest("Namespace.pod() can reach the node over IPv4 and IPv6", async (namespace) => {
  const pod = await namespace.pod();
  const ask = (address: string) => pod.run(["ip", "route", "get", address]);
  assertStringIncludes((await ask("10.96.0.2")).stdout, "10.96.0.2 via 10.0.0.1 dev eth0 src 10.0.0.2");
  assertStringIncludes((await ask("fd00:96::2")).stdout, "fd00:96::2 from :: via fd00:10::1 dev eth0 src fd00:10::2");
});

kernelTest("Namespace.run() feeds stdin, sets the environment and the working directory", async (namespace) => {
  assertEquals(
    await namespace.run(["sh", "-c", "cat; pwd; echo $WORD $LC_ALL >&2; exit 3"], {
      stdin: "fed\n",
      env: { WORD: "word" },
      cwd: "/usr",
    }),
    { code: 3, stdout: "fed\n/usr\n", stderr: "word C\n" },
  );
  assertEquals(await namespace.run(["true"], { stdin: "x".repeat(1 << 20) }), { code: 0, stdout: "", stderr: "" });
  assertEquals(await namespace.ok(["pwd"]), `${Deno.cwd()}\n`);
});

kernelTest("Namespace.run() ends the program when the signal aborts", async (namespace) => {
  const { code } = await namespace.run(["sleep", "60"], { signal: AbortSignal.timeout(50) });
  assertEquals(code, 143);
});

kernelTest("Namespace.ok() throws the standard error of a program that fails", async (namespace) => {
  await assertRejects(
    () => namespace.ok(["sh", "-c", "echo one; echo two >&2; exit 5"]),
    Error,
    'Cannot run "sh -c echo one; echo two >&2; exit 5": exit code 5: two',
  );
});

kernelTest("Namespace.spawn() gives the process id of the program itself", async (namespace) => {
  const child = namespace.spawn(["sh", "-c", "echo $$; exec cat"], { stdin: "piped", stdout: "piped" });
  await child.stdin.close();
  assertEquals(new TextDecoder().decode((await child.output()).stdout), `${child.pid}\n`);
});

kernelTest("Namespace.dump() is the same when nothing changed, and differs when anything did", async (namespace) => {
  await namespace.pod();
  const before = await namespace.dump();
  assertEquals(await namespace.dump(), before);
  const rule = ["OUTPUT", "-d", "192.0.2.1", "-j", "ACCEPT"];
  const changes: { make: string[]; undo: string[] }[] = [
    ...["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"].flatMap((program) => [
      { make: [program, "-t", "raw", "-N", "MINE"], undo: [program, "-t", "raw", "-X", "MINE"] },
      { make: [program, "-P", "INPUT", "DROP"], undo: [program, "-P", "INPUT", "ACCEPT"] },
    ]),
    ...["iptables-nft", "iptables-legacy"].map((program) => ({
      make: [program, "-t", "raw", "-I", ...rule],
      undo: [program, "-t", "raw", "-D", ...rule],
    })),
    { make: ["nft", "add", "table", "inet", "mine"], undo: ["nft", "delete", "table", "inet", "mine"] },
    {
      make: ["ip", "address", "add", "10.9.9.9/32", "dev", "lo"],
      undo: ["ip", "address", "del", "10.9.9.9/32", "dev", "lo"],
    },
    {
      make: ["ip", "address", "add", "fd00:9::9/128", "dev", "veth0"],
      undo: ["ip", "address", "del", "fd00:9::9/128", "dev", "veth0"],
    },
    { make: ["ip", "link", "add", "br0", "type", "bridge"], undo: ["ip", "link", "del", "br0"] },
    { make: ["ip", "rule", "add", "to", "192.0.2.1"], undo: ["ip", "rule", "del", "to", "192.0.2.1"] },
    {
      make: ["ip", "route", "add", "192.0.2.0/24", "dev", "veth0", "table", "9"],
      undo: ["ip", "route", "del", "192.0.2.0/24", "dev", "veth0", "table", "9"],
    },
  ];
  for (const { make, undo } of changes) {
    await namespace.ok(make);
    assertNotEquals(await namespace.dump(), before, `after ${make.join(" ")}`);
    await namespace.ok(undo);
    assertEquals(await namespace.dump(), before, `after ${undo.join(" ")}`);
  }
});

Deno.test("Namespace ends when it is disposed of", async () => {
  const namespace = await Namespace.create();
  await namespace[Symbol.asyncDispose]();
  await assertRejects(() => namespace.ok(["true"]), Error, "nsenter: ");
});

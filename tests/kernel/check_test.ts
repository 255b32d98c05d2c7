import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { kernelTest, type Namespace, type Output } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  BACKENDS,
  flags,
  Program,
  ruleLines,
  runProgram,
  SOURCE,
  state,
  tables,
  toolbox,
  WANTED,
} from "../support/program.ts";

const TO = `-d ${ADDRESS}/32 -p tcp -m tcp --dport 443`;
const RULES = ruleLines().map((line) => line.replace(" -A ", " "));
const HEAD = "KIND     WANTED                                                               STATE    DETAIL";
/** What inserts them: each below those of its chain that come before it. */
const INSERTED = ruleLines().map((line) =>
  line.replace(" -A ", " -I ").replace("raw -I OUTPUT -s", "raw -I OUTPUT 2 -s")
);
/** Starts a program as a user without any right. */
const NOBODY = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"];

for (const backend of BACKENDS) {
  kernelTest(`${backend}: --check on an empty node says what is missing, exits 1 and makes no table`, async (node) => {
    const path = await toolbox(node, { backend });
    const before = await tables(node);
    const { code, stdout, stderr } = await runProgram(node, flags(backend, "--check"), { path });
    assertEquals({ code, stderr }, { code: 1, stderr: "" });
    assertEquals(stdout.split("\n"), [
      HEAD,
      `link     ${"lo".padEnd(67)}  present`,
      `address  ${`${ADDRESS}/32 on lo`.padEnd(67)}  missing`,
      `         repair: ip address add ${ADDRESS}/32 dev lo scope host`,
      ...RULES.flatMap((rule, index) => [
        `rule     ${rule.padEnd(67)}  missing`,
        `         repair: iptables-${backend} -t ${INSERTED[index]}`,
      ]),
      `Not in sync: 6 of 7 are not as wanted; iptables back end: ${backend}`,
      "",
    ]);
    assertEquals(await tables(node), before);
  });

  kernelTest(`${backend}: --check beside a running daemon exits 0, and leaves it and the node alone`, async (node) => {
    const path = await toolbox(node, { backend });
    await using daemon = await Program.start(node, flags(backend), { path });
    await daemon.reached(node, WANTED, backend);
    const before = [await node.dump(), await tables(node)];
    const said = daemon.stderr;
    const checks = await Promise.all(
      Array.from({ length: 3 }, () => runProgram(node, flags(backend, "--check"), { path })),
    );
    for (const check of checks) {
      assertEquals(check, {
        code: 0,
        stderr: "",
        stdout: [
          HEAD,
          `link     ${"lo".padEnd(67)}  present`,
          `address  ${`${ADDRESS}/32 on lo`.padEnd(67)}  present`,
          ...RULES.map((rule) => `rule     ${rule.padEnd(67)}  present`),
          `In sync: all 7 are as wanted; iptables back end: ${backend}`,
          "",
        ].join("\n"),
      });
    }
    assertSameDump(await node.dump(), before[0]!);
    assertEquals([await tables(node), daemon.stderr], [before[1], said]);
  });

  kernelTest(`${backend}: --check prints repairs that a shell takes, after which all is in sync`, async (node) => {
    const path = await toolbox(node, { backend });
    await node.ok(["ip", "address", "add", `${ADDRESS}/24`, "dev", "lo", "scope", "link"]);
    for (let copy = 0; copy < 3; copy++) {
      await node.ok([`iptables-${backend}`, "-A", "INPUT", ...TO.split(" "), "-j", "ACCEPT"]);
    }
    // What is added in one place is removed elsewhere only after the next look.
    for (const inSync of [false, false, true]) {
      const { code, stdout, stderr } = await runProgram(node, flags(backend, "--check", "--output=json"), { path });
      const result: { inSync: boolean; items: { repair: string[] }[] } = JSON.parse(stdout);
      assertEquals([code, stderr, result.inSync], [inSync ? 0 : 1, "", inSync], stdout);
      const repairs = result.items.flatMap(({ repair }) => repair);
      await node.ok(["sh", "-eu"], { stdin: repairs.map((line) => `${line}\n`).join("") });
    }
    assertEquals((await state(node, backend)).toSorted(), [...WANTED].toSorted());
  });

  kernelTest(`${backend}: --check --output=json prints the documented shape`, async (node) => {
    const path = await toolbox(node, { backend });
    await node.ok(["ip", "address", "add", `${ADDRESS}/32`, "dev", "lo", "scope", "link"]);
    const { stdout } = await runProgram(node, flags(backend, "--check", "--output=json"), { path });
    const rest = { error: null, warning: null, removes: [] };
    assertEquals(JSON.parse(stdout), {
      inSync: false,
      backend,
      strayRulesIn: null,
      items: [
        { kind: "link", name: "lo", interface: null, state: "present", ok: true, detail: null, ...rest, repair: [] },
        {
          kind: "address",
          name: `${ADDRESS}/32`,
          interface: "lo",
          state: "wrong",
          ok: false,
          detail: "scope link",
          ...rest,
          repair: [
            `ip address del ${ADDRESS}/32 dev lo`,
            `ip address add ${ADDRESS}/32 dev lo scope host`,
          ],
        },
        ...RULES.map((name, index) => ({
          kind: "rule",
          name,
          interface: null,
          state: "missing",
          ok: false,
          detail: null,
          ...rest,
          repair: [`iptables-${backend} -t ${INSERTED[index]}`],
        })),
      ],
    });
  });

  kernelTest(
    `${backend}: --check without rights shows the address, and says why the rules are unknown`,
    async (node) => {
      const path = await toolbox(node, { backend });
      const once = await runProgram(node, flags(backend, "--daemon=false"), { path });
      assertEquals(once.code, 0, once.stderr);
      const before = await node.dump();
      const { code, stdout, stderr } = await runProgram(node, flags(backend, "--check"), { path, through: NOBODY });
      assertEquals({ code, stderr }, { code: 1, stderr: "" }, stdout);
      const lines = stdout.split("\n");
      assertEquals(lines.slice(0, 3), [
        HEAD,
        `link     ${"lo".padEnd(67)}  present`,
        `address  ${`${ADDRESS}/32 on lo`.padEnd(67)}  present`,
      ]);
      for (const line of lines.slice(3, 8)) {
        assertMatch(
          line,
          new RegExp(`^rule +\\S.*  unknown  Cannot run iptables-${backend}-\\w+: .*CAP_NET_(?:ADMIN|RAW)`),
        );
      }
      assertEquals(lines.slice(8), [`Not in sync: 5 of 7 are not as wanted; iptables back end: ${backend}`, ""]);
      assertSameDump(await node.dump(), before);
    },
  );
}

kernelTest("--check makes no table when only plain names are installed", async (node) => {
  for (const backend of BACKENDS) {
    const path = await toolbox(node, { backend, without: /-(?:nft|legacy)/ });
    const before = await tables(node);
    const { code, stderr } = await runProgram(node, [`--ip-address=${ADDRESS}`, "--setup-iptables", "--check"], {
      path,
    });
    assertEquals({ code, stderr }, { code: 1, stderr: "" });
    assertEquals(await tables(node), before, backend);
  }
});

kernelTest("--check exits 2 when the command line is wrong, and looks at nothing", async (node) => {
  const path = await toolbox(node, { before: "touch /run/started" });
  for (const wrong of [["--check", "--output=yaml"], ["--check", "--cleanup"], ["--check=maybe"]]) {
    const { code, stdout } = await runProgram(node, flags("nft", ...wrong), { path });
    assertEquals([code, stdout], [2, ""], wrong.join());
  }
  assertEquals((await node.run(["cat", "/run/started"])).code, 1);
});

kernelTest("--check uses colours on a terminal only, and not with NO_COLOR", async (node) => {
  const path = await toolbox(node);
  // deno-lint-ignore no-control-regex
  const hasColors = (text: string) => /\x1b\[\d+m/.test(text);
  const noColor = ["env", "--unset=NO_COLOR", "TERM=xterm"];
  const piped = await runProgram(node, flags("nft", "--check"), { path, through: noColor });
  assertEquals(hasColors(piped.stdout), false);
  const terminal = (more: readonly string[]) => onTerminal(node, path, [...noColor, ...more]);
  assert(hasColors(await terminal([])));
  assertEquals(hasColors(await terminal(["NO_COLOR=1"])), false);
});

const PORTS = Array.from({ length: 100 }, (_, index) => `--port=${1000 + index}`);

kernelTest("--check prints all into a pipe that does not block, however slowly it is read", async (node) => {
  const check = flags("nft", "--check", "--output=json", ...PORTS);
  const { stdout } = await runProgram(node, check);
  assertGreater(stdout.length, 65_536);
  // What dd sets stays with the pipe. A shell reads byte by byte.
  const script = "{ dd if=/dev/null oflag=nonblock status=none; program; } | " +
    `while IFS= read -r line; do printf '%s\\n' "$line"; done`;
  const piped = await shell(node, check, script);
  assertEquals({ ...piped, stdout: piped.stdout === stdout }, { code: 0, stdout: true, stderr: "exit code 1\n" });
});

kernelTest("--check and --help end quietly when nobody reads on, and say that the disk is full", async (node) => {
  const check = flags("nft", "--check", "--output=json", ...PORTS);
  assertEquals(await shell(node, check, "program | head -n 1"), { code: 0, stdout: "{\n", stderr: "exit code 1\n" });
  assertEquals(await shell(node, ["--help"], "program | true"), { code: 0, stdout: "", stderr: "exit code 0\n" });
  const { stderr } = await shell(node, check, "program > /dev/full");
  assertMatch(stderr, /^E.*] Cannot print: No space left on device \(os error 28\)\nexit code 1\n$/);
});

/** What a shell script prints in which `program` is this one; its exit code goes to standard error. */
async function shell(node: Namespace, flags: readonly string[], script: string): Promise<Output> {
  const command = ["env", `PATH=${await toolbox(node)}`, ...SOURCE, ...flags].join(" ");
  return await node.run(["sh", "-c", `program() { ${command}; echo "exit code $?" >&2; }; ${script}`]);
}

/** What --check prints on a terminal. */
async function onTerminal(node: Namespace, path: string, through: readonly string[]): Promise<string> {
  const command = [...through, `PATH=${path}`, ...SOURCE, ...flags("nft", "--check")];
  const { stdout } = await node.run(["script", "--quiet", "--command", command.join(" "), "/dev/null"]);
  assertMatch(stdout, /KIND +WANTED/);
  return stdout;
}

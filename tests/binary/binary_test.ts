import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { kernelTest, type Namespace } from "../support/namespace.ts";
import {
  ADDRESS,
  assertSameDump,
  assertTidy,
  BACKENDS,
  BINARY,
  flags,
  Program,
  ruleLines,
  runProgram,
  type StartOptions,
  state,
  toolbox,
  WANTED,
} from "../support/program.ts";
import { ONCE } from "../support/texts.ts";

const LIB = new URL("../../lib/", import.meta.url);
const CONFIG = new URL("../../deno.json", import.meta.url);
const COMPILED = { program: [BINARY] } as const;

/** Registers a test of the compiled program, which fails when it is not built. */
function binaryTest(name: string, fn: (namespace: Namespace, context: Deno.TestContext) => Promise<void>): void {
  kernelTest(name, async (namespace, context) => {
    await assertBuilt(BINARY);
    await fn(namespace, context);
  });
}

async function assertBuilt(file: string): Promise<void> {
  const built = await Deno.stat(file).then(({ isFile }) => isFile, () => false);
  assert(built, `Cannot test ${file}: it is not there: run "make build"`);
}

/** Runs the compiled program. */
function run(namespace: Namespace, flags: readonly string[], options: StartOptions = {}) {
  return runProgram(namespace, flags, { ...COMPILED, ...options });
}

/** Its own permissions, as `deno compile` wrote them down in the binary. */
async function permissions(): Promise<Record<string, unknown>> {
  const text = new TextDecoder("latin1").decode(await Deno.readFile(BINARY));
  const start = text.lastIndexOf('"permissions":{');
  const [, json] = /^"permissions":(\{[^{}]*\})/.exec(text.slice(start, start + 10_000)) ?? [];
  assert(json !== undefined, `Cannot find the permissions in ${BINARY}`);
  return JSON.parse(json);
}

binaryTest("--version, --help and bad flags", async (namespace) => {
  const path = await toolbox(namespace, { before: "touch /run/started" });
  const version = await run(namespace, ["--version"], { path });
  assertMatch(version.stdout, /^apiserver-proxy-sidecar \d+\.\d+\.\d+\S* \([\w.-]+\)\n$/);
  assertEquals([version.code, version.stderr], [0, ""]);
  const { version: release } = JSON.parse(await Deno.readTextFile(CONFIG));
  assertStringIncludes(version.stdout, ` ${release} `);

  const help = await run(namespace, ["-h"], { path });
  assertEquals([help.code, help.stderr], [0, ""]);
  assertMatch(help.stdout, /^Usage: apiserver-proxy-sidecar .*--ip-address/);
  assertEquals(await run(namespace, ["--help"], { path }), help);

  assertEquals(await run(namespace, ["--ip-adress=10.96.0.2"], { path }), {
    code: 2,
    stdout: "",
    stderr: `--ip-adress: unknown flag: the closest is --ip-address
--ip-address: required: the address that the proxy listens on, such as --ip-address=10.96.0.2
Run "apiserver-proxy-sidecar --help" for all flags
`,
  });
  assertEquals((await namespace.run(["ls", "/run/started"])).code, 2);
});

for (const backend of BACKENDS) {
  binaryTest(`${backend}: one pass, a second one, and --cleanup`, async (namespace) => {
    const before = await namespace.dump();
    const path = await toolbox(namespace, { backend });
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await run(namespace, flags(backend, ONCE), { path });
      assertEquals([code, stdout], [0, ""], stderr);
      assertTidy(stderr);
      assertEquals(await state(namespace, backend), [...WANTED]);
    }
    const { code, stderr } = await run(namespace, flags(backend, ONCE, "--cleanup"), { path });
    assertEquals(code, 0, stderr);
    assertSameDump(await namespace.dump(), before);
  });

  binaryTest(`${backend}: without privileges but those it needs`, async (namespace) => {
    const capabilities = backend === "legacy" ? "+net_admin,+net_raw" : "+net_admin";
    const through = ["setpriv", "--no-new-privs", `--bounding-set=-all,${capabilities}`, "--inh-caps=-all"];
    const { code, stderr } = await run(namespace, flags(backend, ONCE), { backend, through });
    assertEquals(code, 0, stderr);
    assertEquals(await state(namespace, backend), [...WANTED]);
  });
}

binaryTest("a one-shot that cannot do its work exits 1", async (namespace) => {
  const path = await toolbox(namespace, { without: /^ip$/ });
  const { code, stdout, stderr } = await run(namespace, [`--ip-address=${ADDRESS}`, ONCE], { path });
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^E.*iproute2/m);
  assertTidy(stderr);
});

binaryTest("the daemon repairs at SIGHUP, and SIGTERM with --cleanup ends it", async (namespace) => {
  const before = await namespace.dump();
  await using program = await Program.start(
    namespace,
    flags("nft", "--watch=false", "--sync-interval=1h", "--cleanup"),
    COMPILED,
  );
  await program.reached(namespace, WANTED);
  await namespace.ok(["iptables-nft", "-t", "raw", "-F"]);
  await namespace.ok(["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"]);
  program.kill("SIGHUP");
  await program.reached(namespace, WANTED);
  const { code, stdout, stderr } = await program.stop();
  assertEquals([code, stdout], [0, ""], stderr);
  assertTidy(stderr);
  assertSameDump(await namespace.dump(), before);
});

binaryTest("it leaves no file behind: no code cache, nothing under /tmp or HOME", async (namespace) => {
  const path = await toolbox(namespace);
  await namespace.ok(["mkdir", "/run/tmp", "/run/home", "/run/dist"]);
  // A /tmp of its own, in a mount namespace of its own, since the working copy may itself be under /tmp.
  const mounts = `mount --bind '${BINARY.replace(/\/[^/]*$/, "")}' /run/dist
    mount --bind /run/tmp /tmp
    exec "$@"`;
  const tree = () => namespace.ok(["find", "/run/tmp", "/run/home", "-printf", "%p %s %T@\\n"]);
  const before = await tree();
  // A code cache would be written by the first run and read by the second.
  for (let i = 0; i < 2; i++) {
    await using program = await Program.start(namespace, flags("nft", "-v=4", "--cleanup"), {
      through: ["unshare", "--mount", "sh", "-ec", mounts, "sh"],
      program: ["/run/dist/apiserver-proxy-sidecar"],
      path,
      cwd: "/",
      env: { HOME: "/run/home", DENO_DIR: "", XDG_CACHE_HOME: "" },
    });
    await program.reached(namespace, WANTED);
    // Each full pass starts its commands anew; nft would write a history when it ends.
    await program.until(() => {
      program.kill("SIGHUP");
      assertMatch(program.stderr, /Ran a command command="nft --interactive" code=0/);
    });
    assertEquals(await tree(), before);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0, stderr);
    assertEquals(await tree(), before);
  }
});

binaryTest("it works where everything is read-only", async (namespace) => {
  const path = await toolbox(namespace);
  // Flags such as nosuid belong to the machine, and have to be named again.
  await namespace.ok(["sh", "-ec"].concat(`
    awk '{ print $5, substr($6, 4) }' /proc/self/mountinfo | while read -r point options; do
      mount -o "remount,bind,ro,$options" "$point"
    done
    ! touch /run/file 2> /dev/null`));
  const { code, stderr } = await run(namespace, flags("nft", ONCE), { path });
  assertEquals(code, 0, stderr);
  assertEquals(await state(namespace), [...WANTED]);
});

binaryTest("it works without HOME, without stdin, and without anybody who listens", async (namespace) => {
  const path = await toolbox(namespace);
  const surroundings: [string, string[]][] = [
    ["an empty HOME", ["env", "HOME="]],
    ["no environment", ["env", "--ignore-environment"]],
    ["closed stdin", ["sh", "-c", 'exec "$@" <&-', "sh"]],
    ["closed stdin, stdout and stderr", ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]],
    ["a pipe that nobody reads", [
      "sh",
      "-c",
      '{ "$@" 2>&1; echo $? > /run/code; } | true; exit $(cat /run/code)',
      "sh",
    ]],
  ];
  for (const [what, through] of surroundings) {
    const { code, stderr } = await run(namespace, flags("nft", ONCE, "-v=6"), { path, through });
    assertEquals(code, 0, `${what}: ${stderr}`);
    assertEquals(await state(namespace), [...WANTED], what);
    assertEquals((await run(namespace, flags("nft", ONCE, "--cleanup"), { path, through })).code, 0, what);
    assertEquals(await state(namespace), [], what);
  }
});

binaryTest("log lines name the file and the line of the source", async (namespace) => {
  const { code, stderr } = await run(namespace, flags("nft", ONCE, "--cleanup", "-v=6"));
  assertEquals(code, 0, stderr);
  const callers = new Set<string>();
  for (const line of stderr.trimEnd().split("\n")) {
    const [, caller] = /^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\w+\.ts:\d+)\] /.exec(line) ?? [];
    assert(caller !== undefined, `No call site: ${line}`);
    callers.add(caller);
  }
  assert(callers.size > 3, [...callers].join(" "));
  for (const caller of callers) {
    const [file = "", line = ""] = caller.split(":");
    const source = (await Deno.readTextFile(await sourceFile(LIB, file))).split("\n");
    // A source map may name the beginning of the statement.
    const statement = source.slice(Number(line) - 1, Number(line) + 1).join("\n");
    assertMatch(statement, /\.(info|warn\w*|error)\(/, `${caller}: is dist/ older than lib/?`);
  }
});

binaryTest("the machine in its ELF header is the one it is for", async () => {
  const machines: Record<typeof Deno.build.arch, number> = { x86_64: 62, aarch64: 183 };
  using file = await Deno.open(BINARY);
  const header = new Uint8Array(20);
  await file.read(header);
  assertEquals([...header.subarray(0, 6)], [0x7f, 0x45, 0x4c, 0x46, 2, 1]); // 64 bits, little endian
  assertEquals(new DataView(header.buffer).getUint16(18, true), machines[Deno.build.arch]);
});

binaryTest("it has the permissions of deno.json and no others", async () => {
  const { permissions: { default: wanted } } = JSON.parse(await Deno.readTextFile(CONFIG));
  const { allow_run, allow_sys, allow_env, allow_ffi } = await permissions();
  assertEquals({ allow_run, allow_sys, allow_env, allow_ffi }, {
    allow_run: wanted.run,
    allow_sys: wanted.sys,
    allow_env: wanted.env,
    allow_ffi: null,
  });
});

binaryTest("it starts nothing but its tools, and writes no file", async (namespace, context) => {
  // Elsewhere the tests of a read-only machine and of the permissions stand for it.
  const { code: missing } = await namespace.run(["sh", "-c", "command -v strace"]);
  await context.step({
    name: missing ? "skipped: strace is not installed" : "as strace sees it",
    ignore: missing !== 0,
    async fn() {
      const { code, stderr } = await run(namespace, flags("nft", ONCE, "--cleanup"), {
        through: ["strace", "-f", "-qq", "--signal=none", "--trace=process,file", "--output=/run/trace"],
      });
      assertEquals(code, 0, stderr);
      const { started, written } = readTrace(await namespace.ok(["cat", "/run/trace"]));
      const { permissions: { default: { run: allowed } } } = JSON.parse(await Deno.readTextFile(CONFIG));
      const names = started.map((path) => path.replace(/.*\//, ""));
      // env is what the test starts it with.
      assertEquals(names.slice(0, 2), ["env", "apiserver-proxy-sidecar"]);
      assert(names.length > 3, names.join(" "));
      assertEquals(names.slice(2).filter((name) => !allowed.includes(name)), []);
      assertEquals(written, []);
    },
  });
});

/** What a trace of system calls tells of a program: the programs started, and the calls by which itself changes files. */
function readTrace(trace: string): { started: string[]; written: string[] } {
  const started: string[] = [];
  const written: string[] = [];
  const others = new Set<string>();
  const unfinished = new Map<string, string>();
  for (const line of trace.split("\n")) {
    const [, pid = "", text = ""] = /^(\d+) +(.*)/.exec(line) ?? [];
    const [, half] = /^(.*) <unfinished \.\.\.>$/.exec(text) ?? [];
    if (half !== undefined) {
      unfinished.set(pid, half);
      continue;
    }
    const call = text.replace(/^<\.\.\. \w+ resumed>/, () => unfinished.get(pid) ?? "");
    const [, program] = /^execve\("([^"]+)".* = 0$/.exec(call) ?? [];
    if (program !== undefined) {
      started.push(program);
      if (started.length > 2) others.add(pid); // no more itself, but a tool
      continue;
    }
    if (others.has(pid)) continue;
    const opens = /^open(at2?)?\(.*\b(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC)\b/.test(call) && !/^[^"]*"\/dev\//.test(call);
    const changes = /^(creat|mkdir|mknod|rename|unlink|rmdir|link|symlink|truncate|chmod|fchmodat|chown|utime)/;
    if (opens || changes.test(call)) written.push(call);
  }
  return { started, written };
}

binaryTest("the bundle imports nothing from outside, and nothing of node: until it is asked to", async (namespace) => {
  const file = `${BINARY}.js`;
  await assertBuilt(file);
  const code = (await Deno.readTextFile(file)).replace(/^\/\/# sourceMappingURL=.*$/m, "");
  assertEquals(code.match(/^\s*(?:import|export)\b[^;\n]*["'][^"'\n]+["']/gm), null);
  const named = [...code.matchAll(/\b(?:import|(?:__)?require)\s*\(\s*["'`]([^"'`\n]*)/g)].map(([, name = ""]) => name);
  assertEquals(named.filter((name) => !name.startsWith("node:")), []);

  const guarded = await Deno.makeTempFile({ suffix: ".js" });
  try {
    await Deno.writeTextFile(guarded, `globalThis.require = () => Deno.exit(99);\n${code}`);
    const program = [Deno.execPath(), "run", "--quiet", "-P", `--config=${CONFIG.pathname}`, guarded];
    for (const mode of [[ONCE, "--cleanup"], ["--check"], ["--help"]]) {
      const { code, stderr } = await run(namespace, flags("nft", ...mode), { program });
      assertEquals(code, mode[0] === "--check" ? 1 : 0, `${mode}: ${stderr}`);
    }
  } finally {
    await Deno.remove(guarded);
  }
});

binaryTest("--metrics-bind-address, which loads more of it, serves a page", async (namespace) => {
  await using program = await Program.start(
    namespace,
    flags("nft", "--metrics-bind-address=127.0.0.1:9090", "--watch=false"),
    COMPILED,
  );
  await program.reached(namespace, WANTED);
  const page = 'const r = await fetch("http://127.0.0.1:9090/metrics"); console.log(r.status, await r.text())';
  const { stdout, stderr } = await namespace.run([Deno.execPath(), "eval", "--quiet", page]);
  assertMatch(stdout, /^200 [^]*^apiserver_proxy_sidecar_/m, `${stderr}\n${program.stderr}`);
  assertEquals((await program.stop()).code, 0);
});

binaryTest("a killed daemon leaves all in place, and the compiled program takes it over", async (namespace) => {
  const before = await namespace.dump();
  const path = await toolbox(namespace);
  await using killed = await Program.start(namespace, flags("nft", "--cleanup"), { ...COMPILED, path });
  await killed.reached(namespace, WANTED);
  await killed.stop("SIGKILL");
  assertEquals(await state(namespace), [`lo ${ADDRESS}/32 scope host`, ...ruleLines()]);
  assertEquals((await run(namespace, flags("nft", ONCE, "--cleanup"), { path })).code, 0);
  assertSameDump(await namespace.dump(), before);
});

/** The file of that name somewhere below a folder. */
async function sourceFile(folder: URL, name: string): Promise<URL> {
  for await (const { name: entry, isDirectory } of Deno.readDir(folder)) {
    if (entry === name) return new URL(entry, folder);
    const below = isDirectory ? await sourceFile(new URL(`${entry}/`, folder), name).catch(() => undefined) : undefined;
    if (below !== undefined) return below;
  }
  throw new Error(`No file ${name} in ${folder}`);
}

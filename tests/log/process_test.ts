import { assert, assertEquals } from "@std/assert";
import type { LogConfig } from "../../lib/log/config.ts";
import type { Step } from "./child.ts";
import { contents, FILE_HEADER, HEADER, temporaryDirectory } from "../support/logging.ts";

const FALLBACK = "Cannot write log file, logging to standard error";
const LATER = HEADER.replace("08:05", "08:06");

interface Child {
  readonly config: Partial<LogConfig>;
  readonly steps: readonly Step[];
  /** Rights of the program. @default all of them */
  readonly permissions?: readonly string[];
  /** What runs the program, the words of its command line following. @default it is run itself */
  readonly wrapper?: readonly string[];
}

/** Runs child.ts; what it and its wrapper wrote. */
async function run({ config, steps, permissions = ["--allow-all"], wrapper = [] }: Child): Promise<string> {
  const child = new URL("child.ts", import.meta.url).pathname;
  const [program, ...args] = [
    ...[...wrapper, Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", ...permissions],
    ...[child, JSON.stringify([config, ...steps])],
  ];
  const { stdout, stderr } = await new Deno.Command(program!, { args }).output();
  return new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout);
}

/** Runs what follows after a shell command, with `directory` as its $1, in a namespace where root can mount. */
function inNamespace(command: string, directory: string, after = ""): string[] {
  const script = `${command} && directory=$1 && shift && "$@"; ${after}`;
  return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", directory];
}

/** Runs what follows as a plain user. */
const UNPRIVILEGED = ["unshare", "--user", "--map-user=1000"];

Deno.test("setUpLogging() needs no permission without a file flag", async () => {
  const steps: Step[] = [{ log: "info", message: "Started" }];
  assertEquals(await run({ config: {}, steps, permissions: [] }), `I${HEADER}Started\n`);
});

Deno.test("setUpLogging() needs read, write, hostname and uid for files", async () => {
  using directory = temporaryDirectory();
  const permissions = ["--allow-read", "--allow-write", "--allow-sys=hostname,uid"];
  const steps: Step[] = [{ log: "info", message: "Started" }];
  assertEquals(await run({ config: { toStderr: false, dir: directory.path }, steps, permissions }), "");
  const host = Deno.hostname().replace(/\..*/, "").replaceAll(/[^\w.-]/g, "_");
  const user = Deno.uid() === 0 ? "root" : Deno.uid();
  const name = `apiserver-proxy-sidecar.${host}.${user}.log.INFO.20260709-080503.4242`;
  assertEquals(contents(directory.path), {
    "apiserver-proxy-sidecar.INFO": `-> ${name}`,
    [name]: `${FILE_HEADER.replace("node-1.example.org", Deno.hostname())}I${HEADER}Started\n`,
  });
});

Deno.test("LogFiles writes to devices, some of which Deno opens only with all permissions", async () => {
  const permissions = ["--allow-read", "--allow-write", "--allow-sys=hostname,uid"];
  const steps: Step[] = [{ log: "info", message: "One" }, { wait: 60_000 }, { log: "info", message: "Two" }];
  for (const file of ["/dev/stdout", "/dev/stderr"]) {
    const config = { toStderr: false, file, fileMaxSize: 1, skipLogHeaders: true };
    assertEquals(await run({ config, steps, permissions }), `I${HEADER}One\nI${LATER}Two\n`);
  }
  assertEquals(await run({ config: { toStderr: false, file: "/dev/null" }, steps, permissions }), "");
});

Deno.test("LogFiles writes to standard error without the permissions that files need", async () => {
  const config = { toStderr: false, file: "/tmp/log" };
  const steps: Step[] = [{ log: "info", message: "Started" }];
  assertEquals(
    (await run({ config, steps, permissions: [] })).replace(/err=".*"/, "err=…"),
    `E${HEADER}${FALLBACK} err=…\nI${HEADER}Started\n`,
  );
});

Deno.test("LogFiles writes to standard error while the disk is full, the line that was cut off, too", async () => {
  using directory = temporaryDirectory();
  const [file, filler] = [`${directory.path}/log`, `${directory.path}/filler`];
  const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(3000)) as [string, string, string];
  const output = await run({
    config: { toStderr: false, file, skipLogHeaders: true },
    steps: [
      { log: "info", message: a },
      { log: "info", message: b },
      { log: "info", message: c },
      { remove: filler },
      { wait: 60_000 },
      { log: "info", message: "There is room again" },
    ],
    // Of 16 pages one is left.
    wrapper: inNamespace(
      'mount -t tmpfs -o size=64k tmpfs "$1" && head -c 61440 /dev/zero > "$1/filler"',
      directory.path,
      'cat "$directory/log"',
    ),
  });
  const first = `I${HEADER}${a}\n`;
  assertEquals(
    output,
    `E${HEADER}${FALLBACK} err="No space left on device (os error 28)" file="${file}"\n` +
      `I${HEADER}${b}\nI${HEADER}${c}\n` +
      `I${LATER}Log file can be written again file="${file}"\n` +
      `${first}${`I${HEADER}${b}`.slice(0, 4096 - first.length)}\nI${LATER}There is room again\n`,
  );
});

Deno.test("LogFiles writes to standard error when the file system is read-only", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  const output = await run({
    config: { toStderr: false, file },
    steps: [{ log: "info", message: "One" }, { log: "info", message: "Two" }],
    wrapper: inNamespace('mount -t tmpfs -o ro tmpfs "$1"', directory.path),
  });
  const error = `Read-only file system (os error 30): open '${file}'`;
  assertEquals(output, `E${HEADER}${FALLBACK} err="${error}"\nI${HEADER}One\nI${HEADER}Two\n`);
});

Deno.test("LogFiles writes to standard error when it may not write in the directory", async () => {
  using directory = temporaryDirectory();
  await Deno.chmod(directory.path, 0o555);
  const file = `${directory.path}/log`;
  const output = await run({
    config: { toStderr: false, file },
    steps: [{ log: "info", message: "One" }],
    wrapper: UNPRIVILEGED,
  });
  const error = `Permission denied (os error 13): open '${file}'`;
  assertEquals(output, `E${HEADER}${FALLBACK} err="${error}"\nI${HEADER}One\n`);
});

Deno.test("LogFiles lets a file grow that it cannot rename, says so once, and tries again", async () => {
  using directory = temporaryDirectory();
  const file = `${directory.path}/log`;
  await Deno.writeTextFile(file, "");
  await Deno.chmod(directory.path, 0o555);
  const output = await run({
    config: { toStderr: false, file, fileMaxSize: 1, skipLogHeaders: true },
    steps: [{ log: "info", message: "One", repeat: 3 }, { wait: 60_000 }, { log: "info", message: "Two" }],
    wrapper: UNPRIVILEGED,
  });
  const error = `Permission denied (os error 13): rename '${file}' -> '${file}.20260709-080503'`;
  assertEquals(output, `E${HEADER}Cannot rotate log file, it grows on err="${error}" file="${file}"\n`);
  assertEquals(contents(directory.path), { log: `${`I${HEADER}One\n`.repeat(3)}I${LATER}Two\n` });
});

Deno.test("setUpLogging() loses none of 100,000 records, and keeps their order", async () => {
  const steps: Step[] = [{ log: "info", message: "Pass %", repeat: 100_000 }];
  const output = await run({ config: { skipHeaders: true }, steps });
  assert(output === Array.from({ length: 100_000 }, (_, n) => `Pass ${n}\n`).join(""), output.slice(0, 200));
});

Deno.test("setUpLogging() loses nothing in a full pipe that does not block", async () => {
  // Reads nothing before the pipe is full: by then a write has failed with EAGAIN.
  const reader = `
    pipe(my $r, my $w);
    fcntl($w, F_SETFL, O_NONBLOCK);
    if (!fork) { open(STDERR, ">&", $w); exec @ARGV; }
    for (my $vector = "";; ) {
      vec($vector, fileno($w), 1) = 1;
      last if select(undef, $vector, undef, 0) == 0;
    }
    close $w;
    print while sysread($r, $_, 65536);
    wait;`;
  const message = "x".repeat(1000);
  const output = await run({
    config: {},
    steps: [{ log: "info", message, repeat: 1000 }],
    wrapper: ["perl", "-MFcntl", "-e", reader],
  });
  assertEquals(output, `I${HEADER}${message}\n`.repeat(1000));
});

Deno.test("The job goes on when standard error is closed, broken or a full disk", async () => {
  using directory = temporaryDirectory();
  const path = `${directory.path}/removed-at-the-end`;
  const output: string[] = [];
  for (const redirection of ["2>&-", "2>/dev/full", "2>&1 >/dev/null | true", "2>/dev/null"]) {
    await Deno.writeTextFile(path, "");
    const script = `"$@" ${redirection}; test -e ${path} && echo there || echo gone`;
    output.push(
      await run({
        config: {},
        steps: [{ log: "info", message: "One", repeat: 1000 }, { log: "error", message: "Two" }, { remove: path }],
        wrapper: ["sh", "-c", script, "sh"],
      }),
    );
  }
  assertEquals(output, ["gone\n", "gone\n", "gone\n", "gone\n"]);
});

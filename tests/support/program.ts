/**
 * Test equipment: the program as a real process in a {@linkcode Namespace}, the tools it finds there, and what the kernel
 * holds before and after.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import { delay } from "@std/async/delay";
import { Namespace, type Output } from "./namespace.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The program from its source. */
export const SOURCE: readonly string[] = [Deno.execPath(), "run", "--quiet", "-P", `${ROOT}main.ts`];

/** Where `make build` puts the program. */
export const BINARY: string = `${ROOT}dist/apiserver-proxy-sidecar`;

/** A back end of iptables. */
export type Backend = "nft" | "legacy";
/** Both back ends, to make a test for each. */
export const BACKENDS: readonly Backend[] = ["nft", "legacy"];

/** The address that most tests ask for. */
export const ADDRESS = "10.96.0.2";

/** How long a program that is disposed of may take to end by itself. */
const END_MS = 2000;

/** How long a test waits for what has to come, before it fails. */
const PATIENCE_MS = 30_000;

/** Options for {@linkcode toolbox}. */
export interface ToolboxOptions {
  /** What the plain names, such as iptables-restore, drive. @default {"nft"} */
  backend?: Backend;
  /** A shell script in the place of `ip`; `$real` is the real one. */
  ip?: string;
  /** A shell script in the place of all names of iptables-restore; `$real` is the real one. */
  restore?: string;
  /** A line of shell before every tool is started. */
  before?: string;
  /** Tools that are not installed. */
  without?: RegExp;
}

/**
 * Makes a directory in the namespace that holds the tools of the program and nothing else.
 *
 * @returns The PATH that finds them.
 */
export async function toolbox(namespace: Namespace, options: ToolboxOptions = {}): Promise<string> {
  const { backend = "nft", before, without } = options;
  const directory = await namespace.ok(["mktemp", "--directory", "/run/tools.XXXX"]).then((text) => text.trim());
  const lines = ["set -eu", `cd ${directory}`];
  const suite = ["iptables", "ip6tables"].flatMap((family) =>
    ["", "-nft", "-legacy"].flatMap((infix) =>
      ["", "-restore", "-save"].map((what) => ({
        name: `${family}${infix}${what}`,
        real: `${family}${infix === "" ? `-${backend}` : infix}${what}`,
        script: what === "-restore" ? options.restore : undefined,
      }))
    )
  );
  for (
    const { name, real, script } of [
      { name: "ip", real: "ip", script: options.ip },
      { name: "nft", real: "nft", script: undefined },
      ...["prlimit", "ss", "stdbuf", "xtables-monitor"].map((name) => ({ name, real: name, script: undefined })),
      ...suite,
    ]
  ) {
    if (without?.test(name)) continue;
    if (script === undefined && before === undefined) {
      lines.push(`ln -s "$(command -v ${real})" ${name}`);
    } else {
      lines.push(
        // The program's PATH is not enough for a script.
        `{ echo '#!/bin/sh'; echo "PATH='$PATH' real='$(command -v ${real})' name=${name}"; cat; } > ${name} << 'EOF'`,
        ...before === undefined ? [] : [before],
        script ?? 'exec "$real" "$@"',
        "EOF",
        `chmod +x ${name}`,
      );
    }
  }
  await namespace.ok(["sh"], { stdin: `${lines.join("\n")}\n` });
  return directory;
}

/** A script that feeds the real tool with what a command makes of its input; the process is that of the real tool. */
export function filtered(command: string): string {
  return `exec 3<&0
    pipe=$(mktemp --dry-run /run/pipe.XXXX)
    mkfifo "$pipe"
    ${command} <&3 > "$pipe" 2> /dev/null &
    exec 3<&-
    exec "$real" "$@" < "$pipe"`;
}

/** Scripts to put in the place of a tool. */
export const SCRIPTS = {
  /** Never answers and never ends by itself, but at SIGTERM. */
  hang: "echo $$ >> /run/hanging; exec sleep 60",
  /** Never answers, and only SIGKILL ends it. */
  hangHard: "echo $$ >> /run/hanging; trap '' TERM; exec sleep 60",
  /** Fails at each deletion with the real message of the real program. */
  cannotDelete: filtered(String.raw`sed -u 's|^-D \([A-Z]*\) .*|-D \1 -s 192.0.2.99/32 -j ACCEPT|'`),
  /** As it is, until /run/hang is there: then nothing gets through to it any more. */
  hangLater: filtered(`while IFS= read -r line; do
      if [ -e /run/hang ]; then sh -c 'echo $PPID' >> /run/hanging; exec sleep 60; fi
      printf '%s\\n' "$line"
    done`),
  /** This machine's kernel may lack dummy links; a bridge stands in for one. */
  bridgeForDummy: filtered("sed -u 's/ type dummy/ type bridge/'"),
} as const;

/** The process ids of the hanging scripts that are still there, as zombies or alive. */
export async function hanging(namespace: Namespace): Promise<number[]> {
  const pids = (await namespace.run(["cat", "/run/hanging"])).stdout.split("\n").filter(Boolean).map(Number);
  const present = await Promise.all(
    pids.map((pid) => Deno.stat(`/proc/${pid}`).then(() => true, () => false)),
  );
  return pids.filter((_, i) => present[i]);
}

/** Options for {@linkcode Program.start}. */
export interface StartOptions {
  /** @default the tools of {@linkcode toolbox} for the back end */
  path?: string;
  /** Which iptables it finds and is told to drive. @default {"nft"} */
  backend?: Backend;
  /** The command line in front of its flags. @default {SOURCE} */
  program?: readonly string[];
  /** A program, with arguments, that starts it, such as setpriv. */
  through?: readonly string[];
  /** Added to the environment. */
  env?: Record<string, string>;
  /** @default the working copy */
  cwd?: string;
}

/** The program as a running process. It is ended when it is disposed of, and killed if that takes long. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<Output>;
  readonly #text = { stdout: "", stderr: "" };
  #over = false;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    const read = async (which: "stdout" | "stderr") => {
      for await (const text of child[which].pipeThrough(new TextDecoderStream())) this.#text[which] += text;
    };
    this.#ended = Promise.all([child.status, read("stdout"), read("stderr")])
      .then(([{ code }]) => ({ code, ...this.#text }));
    this.#ended.finally(() => this.#over = true);
  }

  /** Starts it with some flags, {@linkcode ADDRESS} and its rules being the default. */
  static async start(namespace: Namespace, flags: readonly string[], options: StartOptions = {}): Promise<Program> {
    const { backend = "nft", program = SOURCE, through = [], env = {}, cwd = ROOT } = options;
    const path = options.path ?? await toolbox(namespace, { backend });
    return new Program(
      namespace.spawn(
        [
          ...through,
          "env",
          `PATH=${path}`,
          ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
          ...program,
          ...flags,
        ],
        { cwd, stdin: "null", stdout: "piped", stderr: "piped" },
      ),
    );
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Whether it has ended. */
  get over(): boolean {
    return this.#over;
  }

  /** What it has printed on standard error so far. */
  get stderr(): string {
    return this.#text.stderr;
  }

  /** Tries an assertion until it holds; fails at once if the program ends before. */
  async until(assertion: () => void | Promise<void>): Promise<void> {
    await eventually(async () => {
      const { over } = this;
      try {
        await assertion();
      } catch (error) {
        if (!(error instanceof AssertionError)) throw error;
        const message = `${error.message}\nThe program ${over ? "has ended" : "runs"}, and said:\n${this.stderr}`;
        throw new (over ? Hopeless : AssertionError)(message);
      }
    });
  }

  /** Waits until standard error matches. */
  logged(pattern: RegExp): Promise<void> {
    return this.until(() => {
      if (!pattern.test(this.stderr)) throw new AssertionError(`It did not log ${pattern}`);
    });
  }

  /** Waits until the kernel holds exactly some lines of {@linkcode state}. */
  reached(namespace: Namespace, lines: readonly string[], backend: Backend = "nft"): Promise<void> {
    return this.until(async () => assertEquals(await state(namespace, backend), [...lines]));
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for its end. */
  async end(): Promise<Output> {
    const over = new AbortController();
    const late = delay(2 * PATIENCE_MS, { signal: over.signal }).then(
      () => Promise.reject(new Error(`The program does not end:\n${this.stderr}`)),
      () => Promise.reject(new Error("never seen")),
    );
    late.catch(() => {});
    try {
      return await Promise.race([this.#ended, late]);
    } finally {
      over.abort();
    }
  }

  /** Sends a signal and waits for the end. */
  stop(signal: Deno.Signal = "SIGTERM"): Promise<Output> {
    this.kill(signal);
    return this.end();
  }

  /** Killed, it would leave its watchers behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    const over = new AbortController();
    this.#ended.finally(() => over.abort());
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      try {
        this.#child.kill(signal);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // it has ended
      }
      await delay(END_MS, { signal: over.signal }).catch(() => {});
    }
    await this.#ended;
  }
}

/** Makes events of each kind that somebody may watch: the watchers of a program that was killed end at the next one. */
export async function rouse(namespace: Namespace): Promise<void> {
  await namespace.ok(["ip", "link", "set", "lo", "alias", "roused"]);
  for (const program of ["iptables-nft", "ip6tables-nft"]) {
    for (const command of ["-A", "-D"]) {
      await namespace.ok([program, "-t", "raw", command, "OUTPUT", "-p", "udp", "-j", "ACCEPT"]);
    }
  }
}

/** Runs the program to its end. */
export async function runProgram(
  namespace: Namespace,
  flags: readonly string[],
  options: StartOptions = {},
): Promise<Output> {
  await using program = await Program.start(namespace, flags, options);
  return await program.end();
}

/** The flags of most tests. */
export function flags(backend: Backend, ...more: string[]): string[] {
  return [`--ip-address=${ADDRESS}`, "--setup-iptables", `--iptables-mode=${backend}`, ...more];
}

/** The rules of one address, as {@linkcode state} writes them. */
export function ruleLines(ip = ADDRESS, port = 443): string[] {
  const bits = ip.includes(":") ? 128 : 32;
  const requests = `-d ${ip}/${bits} -p tcp -m tcp --dport ${port}`;
  const answers = `-s ${ip}/${bits} -p tcp -m tcp --sport ${port}`;
  return [
    `raw -A PREROUTING ${requests} -j NOTRACK`,
    `raw -A OUTPUT ${requests} -j NOTRACK`,
    `raw -A OUTPUT ${answers} -j NOTRACK`,
    `filter -A INPUT ${requests} -j ACCEPT`,
    `filter -A OUTPUT ${answers} -j ACCEPT`,
  ];
}

/** What most tests want {@linkcode state} to be. */
export const WANTED: readonly string[] = [`lo ${ADDRESS}/32 scope host`, ...ruleLines()];

/**
 * The addresses (but those that each `lo` has, and link-local ones) and the rules of both families in one back end, in
 * the order of their chains; `raw` first, since that is the order in which packets meet them.
 */
export async function state(namespace: Pick<Namespace, "ok">, backend: Backend = "nft"): Promise<string[]> {
  const [addresses, ...rules] = await Promise.all([
    namespace.ok(["ip", "-json", "address"]),
    namespace.ok([`iptables-${backend}-save`]),
    namespace.ok([`ip6tables-${backend}-save`]),
  ]);
  return [...addressLines(addresses), ...rules.flatMap(savedRules)];
}

/** Every table that exists in either back end, empty or not, with all it holds; only counters and dates are left out. */
export async function tables(node: Pick<Namespace, "ok">): Promise<string> {
  const texts = await Promise.all([
    ["nft", "--stateless", "list", "ruleset"],
    ["sort", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"],
    ["iptables-legacy-save"],
    ["ip6tables-legacy-save"],
  ].map((argv) => node.ok(argv)));
  return texts.join("").replaceAll(/^#.*\n/gm, "").replaceAll(/ \[\d+:\d+\]$/gm, "");
}

function addressLines(json: string): string[] {
  interface Info {
    local: string;
    prefixlen: number;
    scope: string;
    broadcast?: string;
  }
  const links: { ifname: string; addr_info: Info[] }[] = JSON.parse(json);
  return links.flatMap(({ ifname, addr_info }) =>
    addr_info.filter(({ local }) => !["127.0.0.1", "::1"].includes(local) && !local.startsWith("fe80:"))
      .map(({ local, prefixlen, scope, broadcast }) =>
        `${ifname} ${local}/${prefixlen} scope ${scope}${broadcast === undefined ? "" : ` broadcast ${broadcast}`}`
      )
  );
}

function savedRules(text: string): string[] {
  const tables = new Map<string, string[]>();
  let table = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    if (!line.startsWith("-A ")) continue;
    // What newer releases of iptables call it.
    tables.set(table, [...tables.get(table) ?? [], `${table} ${line.replace(/CT --notrack$/, "NOTRACK")}`]);
  }
  const order = ["raw", "mangle", "nat", "filter", "security"];
  return [...tables].toSorted(([a], [b]) => order.indexOf(a) - order.indexOf(b)).flatMap(([, lines]) => lines);
}

/**
 * Runs scenarios that mostly wait at the same time, each in a namespace of its own.
 *
 * @throws {AggregateError} of all that failed, with their names
 */
export async function sideBySide(scenarios: Record<string, (namespace: Namespace) => Promise<void>>): Promise<void> {
  const run = async ([name, scenario]: [string, (namespace: Namespace) => Promise<void>]) => {
    try {
      await using namespace = await Namespace.create();
      await scenario(namespace);
    } catch (error) {
      return [new Error(`${name}: ${error instanceof Error ? error.message : error}`, { cause: error })];
    }
    return [];
  };
  const errors = (await Promise.all(Object.entries(scenarios).map(run))).flat();
  if (errors.length > 0) throw new AggregateError(errors, errors.map(({ message }) => message).join("\n"));
}

/** An assertion that waiting cannot mend. */
class Hopeless extends AssertionError {}

/** Tries an assertion until it holds, or until the patience is over: then it fails as it did last. */
export async function eventually(assertion: () => void | Promise<void>, patience = PATIENCE_MS): Promise<void> {
  const deadline = performance.now() + patience;
  while (true) {
    try {
      return await assertion();
    } catch (error) {
      if (!(error instanceof AssertionError) || error instanceof Hopeless || performance.now() > deadline) throw error;
    }
    await delay(5);
  }
}

/**
 * The lines that a dump has in addition to those of an earlier one.
 *
 * @throws {AssertionError} if a line of the earlier dump is gone, changed, or in another order
 */
export function addedLines(before: string, now: string): string[] {
  const old = before.split("\n");
  const added: string[] = [];
  let next = 0;
  for (const line of now.split("\n")) {
    if (line === old[next]) next++;
    else added.push(line);
  }
  if (next < old.length) throw new AssertionError(`A line of the dump is gone: ${old[next]}`);
  return added;
}

/** Asserts that two dumps are the same byte for byte, and shows only what differs. */
export function assertSameDump(now: string, before: string): void {
  if (now === before) return;
  const [a, b] = [before.split("\n"), now.split("\n")];
  const gone = surplus(a, b).slice(0, 20).map((line) => `- ${line}`);
  const come = surplus(b, a).slice(0, 20).map((line) => `+ ${line}`);
  const moved = b.findIndex((line, i) => line !== a[i]);
  const differences = gone.length + come.length > 0 ? [...gone, ...come] : [
    "the order of their lines, from:",
    ...a.slice(Math.max(0, moved - 2), moved + 6).map((line) => `- ${line}`),
    ...b.slice(Math.max(0, moved - 2), moved + 6).map((line) => `+ ${line}`),
  ];
  throw new AssertionError(`The dumps differ:\n${differences.join("\n")}`);
}

/** The lines of one text that another has not, or not as often. */
function surplus(lines: readonly string[], others: readonly string[]): readonly string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

/** Asserts that a text has the fault of no one: no stack trace, no message of the runtime. */
export function assertTidy(text: string): void {
  const untidy = text.split("\n").filter((line) => /^\s+at |error: Uncaught|^Info |Ended by a defect/.test(line));
  assertEquals(untidy, []);
}

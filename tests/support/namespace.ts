/**
 * Test equipment: private network namespaces, made without root, in which the real `ip` and `iptables` work and in which
 * nothing can harm the machine.
 *
 * @module
 */

/** What {@linkcode Namespace.run} and its like take. */
export interface RunOptions {
  /** Fed to the program, which otherwise has `/dev/null`. */
  stdin?: string;
  /** Added to the environment. */
  env?: Record<string, string>;
  /** Working directory. @default the caller's */
  cwd?: string;
  /** SIGTERM is sent to the program when it aborts. */
  signal?: AbortSignal;
}

/** What a program that has ended left. */
export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

/** What {@linkcode Namespace.spawn} takes: the options of `Deno.Command` without its arguments. */
export type SpawnOptions = Omit<Deno.CommandOptions, "args">;

/** LC_ALL makes texts comparable. A plain user of Debian has no sbin in the PATH, where the network tools are. */
const ENVIRONMENT = { LC_ALL: "C", PATH: `${Deno.env.get("PATH") ?? "/usr/bin:/bin"}:/usr/sbin:/sbin` };

/**
 * Makes one whose root is this user. In two steps: the kernel gives /proc/net/ip_tables_names, which iptables-legacy-save
 * reads, to the root of the user namespace, and in one step there is none yet.
 */
const UNSHARE = ["unshare", "--user", "--map-root-user", "unshare", "--net", "--mount"] as const;
const SETUP = "mount -t tmpfs tmpfs /run && ip link set lo up";

/** A user, network and mount namespace with a /run of its own (the xtables lock is there). It ends with this process. */
export class Namespace implements AsyncDisposable {
  readonly #holder: Deno.ChildProcess;
  readonly #pods: Namespace[] = [];

  private constructor(holder: Deno.ChildProcess) {
    this.#holder = holder;
  }

  /** Makes a namespace in which only `lo` is, up. */
  static create(): Promise<Namespace> {
    return Namespace.#hold([...UNSHARE, "sh", "-c", `${SETUP} && exec cat`]);
  }

  /** Process id of the namespace's holder, as `ip link set … netns PID` takes it. */
  get pid(): number {
    return this.#holder.pid;
  }

  /**
   * Makes a pod: a second network namespace, joined by a veth pair (`veth0` here, `eth0` there) with the addresses
   * 10.0.0.1/24 and fd00:10::1/64 here, 10.0.0.2/24 and fd00:10::2/64 there, and its default routes to here. It is
   * disposed of with this one.
   */
  async pod(): Promise<Namespace> {
    const pod = await Namespace.#hold(this.argv(["unshare", "--net", "cat"]));
    this.#pods.push(pod);
    // addrgenmode none: a link-local address would appear a little later, and change every dump made in between.
    await this.ok(["ip", "-batch", "-"], {
      stdin: `link add veth0 type veth peer name eth0 netns ${pod.pid}
        link set veth0 addrgenmode none
        link set veth0 up
        address add 10.0.0.1/24 dev veth0
        address add fd00:10::1/64 dev veth0 nodad\n`,
    });
    await pod.ok(["ip", "-batch", "-"], {
      stdin: `link set lo up
        link set eth0 addrgenmode none
        link set eth0 up
        address add 10.0.0.2/24 dev eth0
        address add fd00:10::2/64 dev eth0 nodad
        route add default via 10.0.0.1
        route add default via fd00:10::1\n`,
    });
    return pod;
  }

  /** The command line that runs `argv` inside; the process id stays that of `argv`'s program. */
  argv(argv: readonly string[]): [string, ...string[]] {
    return ["nsenter", "--preserve-credentials", "--user", "--mount", "--net", `--target=${this.pid}`, "--", ...argv];
  }

  /** Starts a program inside. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): Deno.ChildProcess {
    // Entering a mount namespace leaves the working directory behind.
    const [program, ...args] = this.argv(["env", `--chdir=${options.cwd ?? Deno.cwd()}`, ...argv]);
    return new Deno.Command(program, { ...options, args, env: { ...ENVIRONMENT, ...options.env } }).spawn();
  }

  /** Runs a program inside to its end. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<Output> {
    const { stdin, ...rest } = options;
    const child = this.spawn(argv, {
      ...rest,
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    });
    const fed = stdin === undefined
      ? undefined
      : new Blob([stdin]).stream().pipeTo(child.stdin).catch(ignoreBrokenPipe);
    const [output] = await Promise.all([child.output(), fed]);
    const decoder = new TextDecoder();
    return { code: output.code, stdout: decoder.decode(output.stdout), stderr: decoder.decode(output.stderr) };
  }

  /**
   * Runs a program inside that has to succeed, and gives its standard output.
   *
   * @throws {Error} with the program's whole standard error when it fails
   */
  async ok(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(argv, options);
    if (code !== 0) throw new Error(`Cannot run "${argv.join(" ")}": exit code ${code}: ${stderr.trimEnd()}`);
    return stdout;
  }

  /**
   * Everything the network stack holds: links, addresses, routes, policy rules, both iptables back ends, foreign nft
   * tables. Two dumps are equal if nothing changed between them: what changes by itself (counters, lifetimes, IPv6
   * address detection, timers) is left out, and so are chains and tables that say nothing (policy ACCEPT and no
   * rule), since iptables makes them at the first look and never takes them away.
   */
  async dump(): Promise<string> {
    const sections = await Promise.all([
      this.#section("links", ["ip", "-oneline", "-details", "link"], normalizeLink),
      this.#section("addresses", ["ip", "-oneline", "address"], sortLines),
      this.#section("routes", ["ip", "route", "show", "table", "all"], sortLines),
      this.#section("IPv6 routes", ["ip", "-6", "route", "show", "table", "all"], sortLines),
      this.#section("policy rules", ["ip", "rule"]),
      this.#section("IPv6 policy rules", ["ip", "-6", "rule"]),
      this.#section("nft", ["iptables-nft-save"], normalizeRules),
      this.#section("IPv6 nft", ["ip6tables-nft-save"], normalizeRules),
      // Without --table, which would make the kernel create the table.
      this.#section("legacy", ["iptables-legacy-save"], normalizeRules),
      this.#section("IPv6 legacy", ["ip6tables-legacy-save"], normalizeRules),
      this.#foreignTables(),
    ]);
    return sections.join("");
  }

  async #section(title: string, argv: readonly string[], normalize = (text: string) => text): Promise<string> {
    const text = normalize(await this.ok(argv)).trimEnd();
    return `== ${title}\n${text === "" ? "" : `${text}\n`}`;
  }

  async #foreignTables(): Promise<string> {
    const tables = (await this.ok(["nft", "list", "tables"])).trimEnd().split("\n")
      .filter((line) => line !== "" && !/^table ip6? (raw|mangle|nat|filter|security)$/.test(line));
    const sections = await Promise.all(
      tables.map((line) => this.#section(`nft ${line}`, ["nft", "--stateless", "list", ...line.split(" ")])),
    );
    return sections.join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#pods.map((pod) => pod[Symbol.asyncDispose]()));
    if (!this.#holder.stdin.locked) await this.#holder.stdin.close();
    await this.#holder.status;
  }

  /** Starts a holder, a program that ends up as `cat`: its echo tells that it is ready, and it ends when we do. */
  static async #hold([program, ...args]: [string, ...string[]]): Promise<Namespace> {
    const options = { args, env: ENVIRONMENT, stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    const holder = new Deno.Command(program, options).spawn();
    const writer = holder.stdin.getWriter();
    await writer.write(new TextEncoder().encode("ready\n")).catch(ignoreBrokenPipe);
    writer.releaseLock();
    const reader = holder.stdout.getReader();
    const { done } = await reader.read();
    await reader.cancel();
    if (!done) {
      await holder.stderr.cancel();
      return new Namespace(holder);
    }
    const stderr = await new Response(holder.stderr).text();
    await holder.stdin.close().catch(() => {}); // what it could not be told is in its error
    await holder.status;
    throw new Error(explain(stderr));
  }
}

/** Options of a kernel test: those of `Deno.test`. */
export type KernelTestOptions = Omit<Deno.TestDefinition, "name" | "fn">;

/**
 * Registers a test that gets a fresh {@linkcode Namespace}. Where there can be none it is skipped, and its name says
 * why; with CI=true in the environment it fails instead.
 */
export function kernelTest(
  name: string,
  fn: (namespace: Namespace, context: Deno.TestContext) => Promise<void>,
  options: KernelTestOptions = {},
): void {
  obstacle ??= findObstacle();
  const skipped = obstacle !== "" && Deno.env.get("CI") !== "true";
  Deno.test({
    sanitizeOps: true,
    sanitizeResources: true,
    ...options,
    ...(skipped ? { ignore: true } : {}),
    name: skipped ? `${name} (skipped: ${obstacle})` : name,
    async fn(context) {
      if (obstacle !== "") throw new Error(obstacle);
      await using namespace = await Namespace.create();
      await fn(namespace, context);
    },
  });
}

/** Why there can be no kernel tests on this machine, found out by the first of them; empty if there can. */
let obstacle: string | undefined;

function findObstacle(): string {
  try {
    const script = `${SETUP} && iptables-nft-save && iptables-legacy-save && nft list tables && conntrack --version`;
    const [program, ...args] = [...UNSHARE, "sh", "-c", script];
    const { success, stderr } = new Deno.Command(program, { args, env: ENVIRONMENT }).outputSync();
    return success ? "" : explain(new TextDecoder().decode(stderr));
  } catch (error) {
    return explain(error instanceof Error ? error.message : String(error));
  }
}

function explain(stderr: string): string {
  let remedy = "";
  try {
    const restricted = Deno.readTextFileSync("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").startsWith("1");
    if (restricted) remedy = "; as root, run: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
  } catch {
    // This kernel has no such restriction.
  }
  return `Cannot make a network namespace: ${stderr.trim().replaceAll("\n", "; ")}${remedy}`;
}

/** A program may end without reading all that it was given; its exit code and output tell the rest. */
function ignoreBrokenPipe(error: unknown): void {
  if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
}

function normalizeLink(text: string): string {
  return text.replaceAll(/(_timer) +[\d.]+/g, "$1");
}

function sortLines(text: string): string {
  return text
    .replaceAll(/ (valid_lft|preferred_lft|expires) \d+sec/g, "")
    .replaceAll(" tentative", "")
    .replaceAll(/^\d+: /gm, "") // the index of a link: `ip link` has it
    .split("\n").toSorted().join("\n").trimStart();
}

function normalizeRules(text: string): string {
  return text
    .replaceAll(/^(#.*|:\S+ ACCEPT .*)\n/gm, "")
    .replaceAll(/ ?\[\d+:\d+\]$/gm, "")
    .replaceAll(/^\*.*\nCOMMIT\n/gm, "");
}

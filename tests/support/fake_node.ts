/**
 * Test equipment: a node in memory, behind the seam of lib/node/process.ts. It obeys the input that lib/ gives to `ip` and to
 * `iptables-restore`, and throws at any other. tests/kernel/fake_contract_test.ts holds it to what the real tools do.
 *
 * @module
 */
import type { Answer, CommandOptions, CommandResult, CommandRunner, Process } from "../../lib/node/process.ts";
import { CommandError, type CommandFailure } from "../../lib/node/command_error.ts";
import { type Config, parseConfig } from "../../lib/config/config.ts";
import { FakeClock } from "./fake_clock.ts";
import { type FakeLink, FakeLinks } from "./fake_links.ts";
import {
  Exit,
  Ip,
  Monitor,
  NftInteractive,
  NftList,
  Print,
  type Program,
  Restore,
  Save,
  Show,
  TableNames,
} from "./fake_programs.ts";
import { addNative, change, dumpTable, emptyTables, type FakeTable, listForNft, NATIVE } from "./fake_rules.ts";

const PROGRAMS = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"] as const;

/** A process that was started. */
export interface FakeProcess {
  readonly argv: readonly string[];
  /** All that it was told. */
  stdin: string;
}

/** What happens to a running process: it prints an event, it prints on stderr, a signal ends it. */
export type FakeEvent = Readonly<Partial<Record<"print" | "complain" | "signal", string>>>;

/** The kernel of a node and the programs that drive it. */
export class FakeNode implements CommandRunner {
  /** Every process that was started, in order. */
  readonly processes: FakeProcess[] = [];
  /** Those that were not ended. */
  readonly running = new Set<FakeConversation>();

  /** Programs that are not installed. */
  readonly missing = new Set<string>();
  /** Programs that never answer. */
  readonly hang = new Set<string>();
  /** Programs that take so many milliseconds for each answer. */
  readonly slow = new Map<string, number>();
  /** Programs that end at once, with this exit code and error text. */
  readonly fail = new Map<string, readonly [code: number, stderr: string]>();
  /** Programs that answer this instead of what was asked. */
  readonly garble = new Map<string, string>();
  /** Lines at which `ip` or `iptables-restore` fails, with the error text (none for iptables-legacy). */
  readonly refuse: (readonly [line: RegExp, said: string])[] = [];
  /** Lines of {@linkcode FakeNode.dump} that another program removes as soon as they are there. */
  readonly lose: RegExp[] = [];
  /** Until when another program holds the xtables lock, by {@linkcode FakeNode.clock}. */
  lockedUntil = 0;
  /** /run is read-only. */
  readOnlyRun = false;
  /** CAP_NET_ADMIN is lacking. */
  notPermitted = false;
  /** The kernel has no legacy raw table. */
  noRawTable = false;
  /** The kernel lacks the target of NOTRACK. */
  noNotrack = false;
  /** The kernel lacks the link type dummy. */
  noDummy = false;
  /** Monitors that the kernel does not hand events to. */
  readonly deaf = new Set<string>();
  /** The release of iptables. */
  release = "1.8.9";
  /** iptables is 1.8.10 or later, and prints NOTRACK as `CT --notrack`. */
  modern = false;
  /** Which back end the plain names drive. */
  backend: "nft" | "legacy" = "nft";

  /** The chains in the tables that nft made, by the names of these, such as `ip raw`. */
  readonly nftTables = new Map<string, Set<string>>();

  readonly clock: FakeClock;
  readonly #links = new FakeLinks((kind) => kind === "nope" || (kind === "dummy" && this.noDummy));
  readonly #tables = new Map<string, Map<string, FakeTable>>(PROGRAMS.map((name) => [name, emptyTables()]));
  /** Tables that were named: the legacy back end creates them then. */
  readonly #created = new Map<string, Set<string>>(PROGRAMS.map((name) => [name, new Set()]));

  /** @param state Command lines that make it, as {@linkcode FakeNode.dump} gives them; at first only `lo` is there, up. */
  constructor(state = "", clock: FakeClock = new FakeClock()) {
    this.clock = clock;
    this.apply(state);
  }

  /** Does what another program does, told as command lines of `ip` and `iptables`. @throws {Error} if one fails */
  apply(lines: string): void {
    for (const line of lines.split("\n").map((line) => line.trim()).filter((line) => line !== "")) {
      const [, program = "", table = "filter", command = ""] = /^(\S+) (?:-t (\S+) )?(.*)$/.exec(line) ?? [];
      if (program === "ip") this.#links.run(command);
      else if (program === "nft") this.#native(line);
      else this.changeTable(program, table, change(this.table(program, table), command, this));
    }
  }

  /** All that is there beyond an empty node, as sorted command lines that make it. */
  dump(): string {
    const tables = [...this.#tables].flatMap(([program, tables]) =>
      [...tables].flatMap(([table, chains]) =>
        dumpTable(chains).map((line) =>
          line.includes(NATIVE)
            ? `nft add rule ${program.startsWith("ip6") ? "ip6" : "ip"} ${table} ${
              line.replace("-A ", "").replace(NATIVE, "")
            }`
            : `${program} -t ${table} ${line}`
        )
      )
    );
    return [...this.#links.dump(), ...tables].map((line) => `${line}\n`).join("");
  }

  /** The link of this name, to change what no command can. */
  link(name: string): FakeLink {
    return this.#links.get(name);
  }

  start(argv: readonly string[], options: CommandOptions): Process {
    const process = { argv, stdin: "" };
    this.processes.push(process);
    const conversation = new FakeConversation(this, process, options);
    this.running.add(conversation);
    return conversation;
  }

  /** Lets something happen to the running processes of a program. */
  happen(program: string, what: FakeEvent): void {
    for (const conversation of this.running) {
      // Only a monitor prints what it was not asked.
      const concerned = conversation.isMonitor || what.signal !== undefined;
      if (conversation.name === program && concerned) conversation.happen(what);
    }
  }

  /** The programs whose monitors run. */
  get monitors(): readonly string[] {
    return [...this.running].filter(({ isMonitor }) => isMonitor).map(({ name }) => name);
  }

  /** What runs as `argv`. */
  program(argv: readonly string[]): Program {
    const command = argv.join(" ");
    if (command === "ip -json -details -force -batch -") return new Ip(this, this.#links);
    if (/^ip -json -details address show\b/.test(command)) return new Show(this.#links, argv.slice(3).join(" "));
    if (
      /^(?:ip -o monitor address link|prlimit --data=\d+ --cpu=\d+ nft monitor|(?:stdbuf --output=L )?xtables-monitor --event(?: --ipv[46])?)$/
        .test(command)
    ) {
      return new Monitor();
    }
    if (command === "xtables-monitor --version") return new Print(`xtables-monitor ${this.release}\n`);
    if (command === "ss -H -n -e -p -f netlink") return new Print(this.#sockets());
    const [, nft, nftTable = "", nftChain = ""] = /^nft --stateless list chain (ip6?) (\S+) (\S+)$/.exec(command) ?? [];
    if (nft !== undefined) {
      const chain = this.table(`${nft}tables-nft`, nftTable).get(nftChain);
      return new NftList(chain === undefined ? "" : listForNft(`${nft} ${nftTable}`, nftChain, chain));
    }
    if (command === "nft --interactive") return new NftInteractive(this);
    const [, file = "", kind] = /^ip -force -batch (\/proc\/net\/(ip6?)_tables_names)$/.exec(command) ?? [];
    if (kind !== undefined) return new TableNames([...this.#created.get(`${kind}tables-legacy`) ?? []], file);
    const [, name = "", family = "", backend = this.backend, what, options = ""] =
      /^((ip6?tables)(?:-(nft|legacy))?-(save|restore))\b ?(.*)$/.exec(command) ?? [];
    const [, wait] = /^--noflush --verbose --wait=(\d+)$/.exec(options) ?? [];
    const [, table] = /^-t (raw|mangle|filter)$/.exec(options) ?? [];
    if (what === "restore" && wait !== undefined) {
      return new Restore(this, { name, family, legacy: backend === "legacy", wait: Number(wait) });
    }
    if (what === "save" && (table !== undefined || options === "")) {
      const program = `${family}-${backend}`;
      if (table !== undefined) this.table(program, table);
      const tables = [...this.#tables.get(program) ?? []].filter(([name]) => this.#created.get(program)?.has(name));
      return new Save(new Map(tables), table);
    }
    throw new Error(`FakeNode does not know "${command}"`);
  }

  /** The netlink sockets of the monitors that run. */
  #sockets(): string {
    const kernel = "0      0      12:0 * sk=0 cb=0 groups=0x00000000\n";
    return kernel + [...this.running].map(({ name, pid }) => {
      const groups = this.deaf.has(name) ? 0 : name === "ip" ? 0x111 : 0x140;
      return `0      0      ${name === "ip" ? 0 : 12}:${pid} * sk=0 cb=0 groups=0x${
        groups.toString(16).padStart(8, "0")
      }\n`;
    }).join("");
  }

  /** A table of `iptables-nft` and the like. */
  table(program: string, name: string): FakeTable {
    const table = this.#tables.get(program)?.get(name);
    if (table === undefined) throw new Error(`FakeNode does not know the table ${name} of ${program}`);
    this.#created.get(program)?.add(name);
    return table;
  }

  changeTable(program: string, name: string, table: FakeTable): void {
    this.#tables.get(program)?.set(name, table);
  }

  /** `nft add rule ip filter INPUT …`, or `nft add chain ip filter INPUT …` with a priority of its own. */
  #native(line: string): void {
    const [, what, family, table = "", chain = "", rule] =
      /^nft add (rule|chain) (ip6?) (\S+) (\S+) (.*)$/.exec(line) ?? [];
    if (line.startsWith("nft add table ")) return;
    if (what === undefined) throw new Error(`FakeNode does not know "${line}"`);
    const program = `${family}tables-nft`;
    this.changeTable(program, table, addNative(this.table(program, table), chain, what === "rule" ? rule : undefined));
  }

  /** Lets the other program of {@linkcode FakeNode.lose} act. */
  fight(): void {
    const lost = this.dump().split("\n").filter((line) => this.lose.some((pattern) => pattern.test(line)));
    for (const line of lost) {
      this.apply(
        line.startsWith("ip address")
          ? line.replace(" add ", " del ").replace(/ (scope|nodad).*/, "")
          : line.replace(" -A ", " -D "),
      );
    }
  }
}

/** The configuration of a command line. */
export function configFrom(flags: string): Config {
  const parsed = parseConfig(flags.split(/\s+/));
  if (parsed.kind !== "config") throw new Error(`Cannot use the flags "${flags}"`);
  return parsed.config;
}

let pids = 1000;

class FakeConversation implements Process {
  readonly #node: FakeNode;
  readonly #process: FakeProcess;
  readonly #options: CommandOptions;
  readonly #program: Program;
  /** The program, or the monitor that it starts. */
  readonly name: string;
  readonly pid: number | undefined;
  #stdoutSeen = 0;
  #stderrSeen = 0;
  #unread = "";
  #status: { readonly code: number; readonly signal: string | null } | undefined;
  #killed: CommandFailure | undefined;
  #changed = Promise.withResolvers<void>();
  readonly #aborted = Promise.withResolvers<void>();
  #result: Promise<CommandResult> | undefined;

  constructor(node: FakeNode, process: FakeProcess, options: CommandOptions) {
    this.#node = node;
    this.#process = process;
    this.#options = options;
    this.#program = node.program(process.argv);
    const [program = ""] = process.argv;
    this.name = { prlimit: "nft", stdbuf: "xtables-monitor" }[program] ?? program;
    const failure = node.fail.get(this.name);
    this.pid = node.missing.has(program) ? undefined : pids++;
    if (this.pid === undefined) this.#killed = { kind: "missing-program", said: `no ${program}` };
    else if (options.signal?.aborted) this.#killed = ABORTED;
    else if (node.missing.has(this.name)) {
      this.#status = { code: 127, signal: null };
      this.#program.stderr = `${program}: failed to execute ${this.name}: No such file or directory\n`;
    } else if (failure !== undefined) {
      this.#status = { code: failure[0], signal: null };
      this.#program.stderr = failure[1];
    }
    options.signal?.addEventListener("abort", this.#abort);
  }

  async say(text: string, answered: (answer: Answer) => boolean): Promise<Answer | undefined> {
    const { timeout, signal } = this.#options;
    this.#process.stdin += text;
    const lines = (this.#unread + text).split("\n");
    this.#unread = lines.pop() ?? "";
    const { clock, hang, slow } = this.#node;
    await clock.delay(Math.min(slow.get(this.name) ?? 0, timeout), signal);
    if (!this.#isOver() && !hang.has(this.name)) await this.#run(lines);
    const unseen = () => ({
      stdout: this.#program.stdout.slice(this.#stdoutSeen),
      stderr: this.#program.stderr.slice(this.#stderrSeen),
    });
    await this.#until(() => answered(unseen()), timeout);
    const answer = unseen();
    if (this.#killed !== undefined || !answered(answer)) return undefined;
    this.#stdoutSeen = this.#program.stdout.length;
    this.#stderrSeen = this.#program.stderr.length;
    return answer;
  }

  end(): Promise<CommandResult> {
    return this.#result ??= this.#end();
  }

  get isMonitor(): boolean {
    return this.#program instanceof Monitor;
  }

  happen({ print = "", complain = "", signal }: FakeEvent): void {
    if (this.#isOver()) return;
    this.#program.stdout += print;
    this.#program.stderr += complain;
    if (signal !== undefined) this.#status = { code: 128, signal };
    this.#wake();
  }

  async #end(): Promise<CommandResult> {
    const { argv } = this.#process;
    if (!this.#isOver() && !this.#node.hang.has(this.name)) {
      if (this.#unread !== "") throw new Error(`FakeNode wants whole lines, not "${this.#unread}"`);
      await this.#run(undefined);
    }
    await this.#until(() => false, this.#options.timeout);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#node.running.delete(this);
    const { stdout, stderr } = this.#program;
    return {
      argv,
      stdout: stdout.slice(this.#stdoutSeen),
      stderr,
      duration: 0,
      error: CommandError.of(argv, this.#status, stderr, this.#killed),
    };
  }

  /** Lets the program read lines, or the end of its input. */
  async #run(lines: readonly string[] | undefined): Promise<void> {
    try {
      const garbled = this.#node.garble.get(this.name);
      if (garbled !== undefined && lines !== undefined) this.#program.stdout += garbled;
      else {
        for (const line of lines ?? []) {
          const read = Promise.resolve(this.#program.line(line));
          // It may be waiting for the lock when it is killed.
          await Promise.race([read, this.#aborted.promise]);
          if (this.#killed !== undefined) return void read.catch(() => {});
        }
      }
      const code = lines === undefined ? this.#program.end() : undefined;
      if (code !== undefined) this.#status = { code, signal: null };
      // One that is told nothing answers at its end.
      if (garbled !== undefined && this.#process.stdin === "") this.#program.stdout = garbled;
    } catch (error) {
      if (!(error instanceof Exit)) throw error;
      this.#status = { code: error.code, signal: null };
      this.#program.stderr += error.stderr;
    }
  }

  /** Waits for something, or the end. */
  async #until(condition: () => boolean, timeout: number): Promise<void> {
    if (condition() || this.#isOver()) return;
    const over = new AbortController();
    const limit = timeout === Infinity ? undefined : this.#node.clock.delay(timeout, over.signal).then(() => {
      if (!over.signal.aborted) this.#killed ??= { kind: "timed-out", said: `no answer in ${timeout}ms` };
      this.#wake();
    });
    while (!condition() && !this.#isOver()) await this.#changed.promise;
    over.abort();
    await limit;
  }

  #isOver(): boolean {
    return this.#status !== undefined || this.#killed !== undefined;
  }

  readonly #abort = () => {
    const { reason } = this.#options.signal ?? {};
    if (!this.#isOver()) this.#killed = typeof reason === "string" ? { ...ABORTED, said: reason } : ABORTED;
    this.#aborted.resolve();
    this.#wake();
  };

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

const ABORTED: CommandFailure = { kind: "aborted", said: "stopped" };

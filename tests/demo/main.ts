/**
 * `make demo`: shows the main job to a newcomer, in a private network of a node and a pod that ends with it. Exits 1 if
 * anything does not hold. With `--binary` it runs the compiled program instead of the source.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { Namespace } from "../support/namespace.ts";
import { BINARY, ruleLines, SOURCE } from "../support/program.ts";
import { Monitor } from "./monitor.ts";
import { GREETING } from "./peer.ts";
import { ask, Asking, kill, serve } from "./peers.ts";

const ADDRESS = "10.96.0.2";
const PROXY = `${ADDRESS}:443`;
const FLAGS = [`--ip-address=${ADDRESS}`, "--setup-iptables", "--cleanup"];
/** Another server of the node, to compare with: its connections are tracked. */
const OTHER = "10.0.0.1:80";

/** A node's firewall. The state match, which hardly one does without, is what makes the kernel track connections. */
const FIREWALL = [
  "-P INPUT DROP",
  "-P OUTPUT DROP",
  "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT",
  "-A OUTPUT -m state --state ESTABLISHED -j ACCEPT",
] as const;

/** What is taken away, and what the kernel says of it. Three times each is not yet a fight, in which repairs get pauses. */
const LOSSES = [
  {
    argv: ["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"],
    lost: /^Deleted .*10\.96\.0\.2\/32/,
    back: /^\d+: lo +inet 10\.96\.0\.2\/32/,
  },
  {
    argv: ["iptables-nft", "-D", ...ruleLines(ADDRESS)[3]!.split(" ").slice(2)],
    lost: /^delete rule ip filter INPUT/,
    back: /^(add|insert) rule ip filter INPUT/,
  },
  { argv: ["iptables-nft", "-t", "raw", "-F"], lost: /^delete rule ip raw/, back: /^(add|insert) rule ip raw/ },
] as const;
const TIMES = 3;
const PATIENCE_MS = 20_000;

/** Colours are for people who look, not for files. */
const paint = (code: number) => (text: string): string =>
  Deno.stdout.isTerminal() && !Deno.noColor ? `\x1b[${code}m${text}\x1b[0m` : text;
const [bold, dim, red, green, cyan] = [paint(1), paint(2), paint(31), paint(32), paint(36)] as const;

if (import.meta.main) Deno.exit(await demo(Deno.args.includes("--binary") ? [BINARY] : SOURCE));

/** Runs the demonstration, and gives the exit code. */
async function demo(program: readonly string[]): Promise<number> {
  const start = performance.now();
  try {
    await using node = await Namespace.create();
    await show(node, program);
    print(bold(`\nAll of it holds. It took ${((performance.now() - start) / 1000).toFixed(1)} s.`));
    return 0;
  } catch (error) {
    print(red(`   ✗ ${error instanceof Error ? error.message : error}`));
    return 1;
  }
}

async function show(node: Namespace, program: readonly string[]): Promise<void> {
  const pod = await node.pod();
  for (const rule of FIREWALL) await node.ok(["iptables-nft", ...rule.split(" ")]);
  const before = await node.dump();

  print("A node and a pod, in a private network; nothing of this machine's own is touched.");
  title(`A pod wants its kube-apiserver, which is to answer at ${PROXY}`);
  for (const rule of FIREWALL) print(dim(`     the node's firewall: ${rule}`));
  check(
    await ask(pod, PROXY) === undefined,
    "it gets no answer: nobody has the address, and the firewall drops the rest",
  );

  title(`The node starts: apiserver-proxy-sidecar ${FLAGS.join(" ")}`);
  const started = performance.now();
  const child = node.spawn([...program, ...FLAGS], { stdin: "null", stdout: "inherit", stderr: "piped" });
  const log = new Response(child.stderr).text();
  const ended = new AbortController();
  child.status.then(() => ended.abort(new Error("The program has ended")));
  const until = (condition: () => boolean | Promise<boolean>) => poll(condition, ended.signal);
  try {
    await until(async () => (await held(node)).length === 1 + ruleLines().length);
    check(true, `after ${Math.round(performance.now() - started)} ms the address and five rules are there:`);
    for (const line of await held(node)) print(dim(`     ${line}`));
    await using stack = new AsyncDisposableStack();
    stack.use(await serve(node, [PROXY, OTHER]));
    check(await ask(pod, PROXY) === GREETING, `a proxy listens there, and the pod has its answer: ${GREETING}`);
    await ask(pod, OTHER);
    const tracked = await node.ok(["conntrack", "-L", "--proto", "tcp"]);
    check(tracked.includes("dst=10.0.0.1 ") && !tracked.includes(ADDRESS), "conntrack knows of others, not of this");

    title("Something takes them away, again and again, while the pod asks 250 times a second");
    await using monitor = new Monitor(node);
    const load = stack.use(new Asking(pod, PROXY));
    for (const { argv, lost, back } of LOSSES) {
      const times: number[] = [];
      for (let i = 0; i < TIMES; i++) {
        await delay(300); // others happen to a node as well, but not all at the same time
        monitor.clear();
        await node.ok(argv);
        await until(() => monitor.away(lost, back) !== undefined);
        times.push(monitor.away(lost, back)!);
      }
      await until(async () => (await held(node)).length === 1 + ruleLines().length);
      check(true, `${argv.join(" ")}\n     back after ${times.map((ms) => ms.toFixed(1)).join(", ")} ms`);
    }
    const { asked, late, failed } = await load.end();
    check(
      failed === 0,
      `of ${asked} requests ${late} noticed, by an answer that came late; none failed`,
      `${failed} failed`,
    );

    title("SIGTERM, with --cleanup");
    child.kill("SIGTERM");
    check((await child.status).code === 0, "exit code 0");
    check(await node.dump() === before, "addresses, routes and rules are as they were");
    check(await ask(pod, PROXY) === undefined, "and the pod gets no answer again");
  } catch (error) {
    await kill(child);
    print(dim(`\n${await log}`));
    throw error;
  }
}

/** The address and the rules that are there, as one sees them with ip and iptables. */
async function held(node: Namespace): Promise<readonly string[]> {
  const [addresses, raw, filter] = await Promise.all([
    node.ok(["ip", "-4", "-oneline", "address", "show", "dev", "lo"]),
    node.ok(["iptables-nft", "-t", "raw", "-S"]),
    node.ok(["iptables-nft", "-S"]),
  ]);
  const rules = [...lines("raw", raw), ...lines("filter", filter)].map((line) =>
    line.replace("CT --notrack", "NOTRACK")
  );
  const address = addresses.includes(` ${ADDRESS}/32 `) ? [`address ${ADDRESS}/32 on lo`] : [];
  return [...address, ...rules.filter((line) => ruleLines(ADDRESS).includes(line))];
}

function lines(table: string, text: string): readonly string[] {
  return text.trimEnd().split("\n").map((line) => `${table} ${line}`);
}

/** Waits until a condition holds, looking every few milliseconds. */
async function poll(condition: () => boolean | Promise<boolean>, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!await condition()) {
    signal.throwIfAborted();
    if (performance.now() > deadline) throw new Error(`It is not so after ${PATIENCE_MS / 1000} s`);
    await delay(5);
  }
}

function title(text: string): void {
  print(`\n${bold(cyan(text))}`);
}

function check(holds: boolean, text: string, detail = ""): void {
  if (!holds) throw new Error(`Does not hold: ${text}\n${detail}`);
  print(`   ${green("✓")} ${text}`);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

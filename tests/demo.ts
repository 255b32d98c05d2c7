/**
 * `make demo`: shows the main job to a newcomer, in a private network of a node and a pod that ends with it. Exits 1 if
 * anything does not hold. With `--binary` it runs the compiled program instead of the source.
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { Namespace } from "./support/namespace.ts";

const ADDRESS = "10.96.0.2";
const FLAGS = [`--ip-address=${ADDRESS}`, "--setup-iptables", "--cleanup"];

/** A node's firewall. The state match, which hardly one does without, is what makes the kernel track connections. */
const FIREWALL = {
  filter: [
    "-P INPUT DROP",
    "-P OUTPUT DROP",
    "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT",
    "-A OUTPUT -m state --state ESTABLISHED -j ACCEPT",
  ],
} as const;

const RULES = {
  raw: [
    `-A PREROUTING -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j NOTRACK`,
    `-A OUTPUT -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j NOTRACK`,
    `-A OUTPUT -s ${ADDRESS}/32 -p tcp -m tcp --sport 443 -j NOTRACK`,
  ],
  filter: [
    `-A INPUT -d ${ADDRESS}/32 -p tcp -m tcp --dport 443 -j ACCEPT`,
    `-A OUTPUT -s ${ADDRESS}/32 -p tcp -m tcp --sport 443 -j ACCEPT`,
  ],
} as const;

const GREETING = "Hello from the proxy on the node";

if (import.meta.main) {
  const [command, ...args] = Deno.args;
  if (command === "serve") await serve(args);
  else if (command === "ask") await ask(args);
  else Deno.exitCode = await demo(Deno.args.includes("--binary"));
}

/** Runs the demonstration, and gives the exit code. */
async function demo(binary: boolean): Promise<number> {
  const start = performance.now();
  try {
    await using node = await Namespace.create();
    await show(node, binary ? ["dist/apiserver-proxy-sidecar"] : [Deno.execPath(), "run", "--quiet", "-P", "main.ts"]);
    print(`\nAll of it holds. It took ${((performance.now() - start) / 1000).toFixed(1)} s.`);
    return 0;
  } catch (error) {
    print(`   ✗ ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

async function show(node: Namespace, program: readonly string[]): Promise<void> {
  const pod = await node.pod();
  for (const rule of FIREWALL.filter) await node.ok(["iptables-nft", ...rule.split(" ")]);
  const before = await node.dump();

  print("A node and a pod in a private network; this machine's own network is not touched.");
  title(`1. Before: nobody has ${ADDRESS}, and the node's firewall drops what it does not know`);
  for (const line of await addresses(node)) print(`     ${line}`);
  for (const line of FIREWALL.filter) print(`     filter ${line}`);
  const early = await reach(pod, `${ADDRESS}:443`);
  check(early === undefined, `the pod gets no answer from ${ADDRESS}:443`, early);

  title(`2. apiserver-proxy-sidecar ${FLAGS.join(" ")}`);
  const child = node.spawn([...program, ...FLAGS], { stdin: "null", stdout: "inherit", stderr: "piped" });
  const log = new Response(child.stderr).text();
  const ended = new AbortController();
  child.status.then(() => ended.abort(new Error("The program has ended")));
  const until = (condition: () => Promise<boolean>) => poll(condition, ended.signal);
  try {
    const started = performance.now();
    await until(async () => await hasAddress(node) && await hasRules(node));
    check(true, `after ${ms(started)} the address and the five rules are there, at the top of their chains:`);
    for (const line of (await addresses(node)).filter((line) => line.includes(ADDRESS))) print(`     ${line}`);
    for (const [table, rules] of Object.entries(RULES)) {
      for (const rule of rules) print(`     ${table.padEnd(6)} ${rule}`);
    }

    title(`3. A proxy listens on ${ADDRESS}:443`);
    await withServer(node, [`${ADDRESS}:443`, "10.0.0.1:80"], async () => {
      const answer = await reach(pod, `${ADDRESS}:443`);
      check(answer === GREETING, `the pod gets its answer: ${answer}`);
      const other = await reach(pod, "10.0.0.1:80");
      const tracked = (await node.ok(["conntrack", "-L", "--proto", "tcp"])).trimEnd().split("\n");
      check(!tracked.some((line) => line.includes(ADDRESS)), `conntrack has no entry for it`, tracked.join("\n"));
      check(
        other === GREETING && tracked.some((line) => line.includes("dst=10.0.0.1 ")),
        "but it has one for another connection of the pod, to 10.0.0.1:80",
        tracked.join("\n"),
      );
    });

    title("4. Somebody deletes them");
    await repaired("the address", ["ip", "address", "del", `${ADDRESS}/32`, "dev", "lo"], hasAddress);
    await repaired("a rule", ["iptables-nft", "-t", "raw", "-D", ...RULES.raw[0].split(" ").slice(1)], hasRules);
    await repaired("all rules of a table", ["iptables-nft", "-t", "raw", "-F"], hasRules);

    title("5. SIGTERM");
    const stopped = performance.now();
    child.kill("SIGTERM");
    const { code } = await child.status;
    check(code === 0, `it ended after ${ms(stopped)} with exit code 0`, `exit code ${code}`);
    const after = await node.dump();
    check(after === before, "addresses, routes and rules are what they were before", after);
  } catch (error) {
    await stop(child);
    print(`\n${await log}`);
    throw error;
  }

  async function repaired(what: string, argv: string[], isBack: (node: Namespace) => Promise<boolean>): Promise<void> {
    await node.ok(argv);
    const deleted = performance.now();
    await until(() => isBack(node));
    check(true, `${argv.join(" ")}\n     ${what}: back after ${ms(deleted)}`);
  }
}

/** The addresses of a node, one "interface address scope" each. */
async function addresses(node: Namespace): Promise<string[]> {
  const lines = (await node.ok(["ip", "-4", "-oneline", "address"])).trimEnd().split("\n");
  return lines.map((line) => line.replace(/^\d+: (\S+) +inet (.*?)(?: \S+)?\\.*$/, "$1 $2"));
}

async function hasAddress(node: Namespace): Promise<boolean> {
  return (await addresses(node)).includes(`lo ${ADDRESS}/32 scope host`);
}

/** Whether the tables hold the rules where they belong, everything else as it was, and nothing more. */
async function hasRules(node: Namespace): Promise<boolean> {
  const [raw, filter] = await Promise.all(
    ["raw", "filter"].map(async (table) =>
      (await node.ok(["iptables-nft", "-t", table, "-S"])).trimEnd().split("\n")
        .filter((line) => !/^-P \S+ ACCEPT$/.test(line))
        .map((line) => line.replace("CT --notrack", "NOTRACK")) // what newer releases call it
    ),
  );
  const [input, output] = RULES.filter;
  const [policyIn, policyOut, foreignIn, foreignOut] = FIREWALL.filter;
  return `${raw}` === `${RULES.raw}` &&
    `${filter}` === `${[policyIn, policyOut, input, foreignIn, output, foreignOut]}`;
}

/** What a server says to a pod; undefined if it cannot be reached. */
async function reach(pod: Namespace, address: string): Promise<string | undefined> {
  const { code, stdout } = await pod.run(helper("ask", address));
  return code === 0 ? stdout : undefined;
}

async function withServer(node: Namespace, listen: string[], body: () => Promise<void>): Promise<void> {
  const server = node.spawn(helper("serve", ...listen), { stdin: "null", stdout: "piped" });
  const reader = server.stdout.getReader();
  try {
    const { done } = await reader.read(); // it speaks when it listens
    if (done) throw new Error(`Cannot listen on ${listen.join(" and ")}`);
    await body();
  } finally {
    await stop(server);
    await reader.cancel();
  }
}

/** The command line of this file as server or client. */
function helper(...args: string[]): string[] {
  return [Deno.execPath(), "run", "--quiet", "--allow-all", import.meta.filename!, ...args];
}

async function serve(listen: string[]): Promise<void> {
  const listeners = listen.map((address) => Deno.listen(parse(address)));
  print("listening");
  await Promise.all(listeners.map(async (listener) => {
    for await (const connection of listener) {
      await connection.write(new TextEncoder().encode(GREETING));
      connection.close();
    }
  }));
}

async function ask([address = ""]: string[]): Promise<void> {
  setTimeout(() => Deno.exit(1), 500); // a firewall that drops does not say no
  const connection = await Deno.connect(parse(address));
  await connection.readable.pipeTo(Deno.stdout.writable);
  Deno.exit(0);
}

function parse(address: string): { hostname: string; port: number } {
  const [hostname = "", port] = address.split(":");
  return { hostname, port: Number(port) };
}

async function stop(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
  await child.status;
}

/** Waits until a condition holds, looking every few milliseconds. */
async function poll(condition: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!await condition()) {
    signal.throwIfAborted();
    if (performance.now() > deadline) throw new Error("It is not so after 5 s");
    await delay(1);
  }
}

function ms(since: number): string {
  return `${Math.round(performance.now() - since)} ms`;
}

function title(text: string): void {
  print(`\n${text}`);
}

function check(holds: boolean, text: string, detail = ""): void {
  if (!holds) throw new Error(`Does not hold: ${text}\n${detail}`);
  print(`   ✓ ${text}`);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/**
 * Test equipment of the demonstration: the two ends of a connection, as programs.
 *
 *     peer.ts serve ADDRESS:PORT…   greets who connects; prints a line when it listens
 *     peer.ts ask ADDRESS:PORT      asks once, and prints the answer; exits 1 if there is none
 *     peer.ts load ADDRESS:PORT     asks 250 times a second until it is told to stop by the end of its standard input; prints
 *                                   how many were asked, and of those that got no answer or a late one, as JSON
 *
 * @module
 */

/** What the proxy says. */
export const GREETING = "Hello from the proxy on the node";

/** What `load` prints. */
export interface Load {
  readonly asked: number;
  /** Not answered within {@linkcode LATE_MS}, since a packet was lost: the kernel sends it again after a second. */
  readonly late: number;
  /** Not answered at all. */
  readonly failed: number;
}

const EVERY_MS = 4;
const LATE_MS = 500;
/** A firewall that drops does not say no. */
const TIMEOUT_MS = { once: 500, load: 5000 } as const;

if (import.meta.main) {
  const [command, ...args] = Deno.args;
  if (command === "serve") await serve(args);
  else if (command === "load") print(JSON.stringify(await load(args[0] ?? "")));
  else print(await ask(args[0] ?? "", TIMEOUT_MS.once));
  Deno.exit();
}

async function serve(listen: readonly string[]): Promise<void> {
  const listeners = listen.map((address) => Deno.listen(parse(address)));
  print("listening");
  await Promise.all(listeners.map(async (listener) => {
    for await (const connection of listener) {
      connection.write(new TextEncoder().encode(GREETING)).finally(() => connection.close()).catch(() => {});
    }
  }));
}

async function ask(address: string, timeout: number): Promise<string> {
  const connection = await Deno.connect({ ...parse(address), signal: AbortSignal.timeout(timeout) });
  return await new Response(connection.readable).text();
}

async function load(address: string): Promise<Load> {
  const times: Promise<number>[] = [];
  const timer = setInterval(() => {
    const started = performance.now();
    times.push(ask(address, TIMEOUT_MS.load).then(() => performance.now() - started, () => Infinity));
  }, EVERY_MS);
  for await (const _ of Deno.stdin.readable);
  clearInterval(timer);
  const took = await Promise.all(times);
  const late = took.filter((ms) => ms > LATE_MS && ms < Infinity).length;
  return { asked: took.length, late, failed: took.filter((ms) => ms === Infinity).length };
}

function parse(address: string): { hostname: string; port: number } {
  const [hostname = "", port] = address.split(":");
  return { hostname, port: Number(port) };
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

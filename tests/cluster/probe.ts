/**
 * Test equipment: what a pod sees of an outage, as a program.
 *
 *     probe.ts
 *
 * It takes lines from its standard input. After `watch ADDRESS EVERY` it connects to ADDRESS each EVERY milliseconds, without
 * waiting for the connections before; after `stop` it prints an {@linkcode Outage} as a line of JSON. It ends when nobody feeds
 * it any more.
 *
 * @module
 */
import { lines } from "./lines.ts";
import { outageOf, type Try } from "./outage.ts";

/** A connection takes 0.2 ms. One whose first packet is lost takes a second, which is far more than a busy machine adds. */
const TIMEOUT_MS = 300;
const PORT = 443;

let over: Promise<Try[]> | undefined;
let stop = new AbortController();

for await (const line of lines(Deno.stdin.readable)) {
  const [command, address = "", every] = line.split(" ");
  if (command === "watch") {
    stop = new AbortController();
    over = probe(address, Number(every), stop.signal);
  } else {
    stop.abort();
    Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(outageOf(await over ?? []))}\n`));
  }
}
Deno.exit();

async function probe(hostname: string, every: number, signal: AbortSignal): Promise<Try[]> {
  const tries: Promise<Try>[] = [];
  let next = performance.now();
  while (!signal.aborted) {
    tries.push(connect(hostname));
    next = Math.max(next + every, performance.now());
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  }
  return await Promise.all(tries);
}

async function connect(hostname: string): Promise<Try> {
  const at = performance.now();
  try {
    const connection = await Deno.connect({ hostname, port: PORT, signal: AbortSignal.timeout(TIMEOUT_MS) });
    connection.close();
    return { at, ok: true };
  } catch {
    return { at, ok: false };
  }
}

/**
 * Test equipment: who comes to the daemon's server, as a program, since it has to run in the daemon's namespace.
 *
 *     visitor.ts ask METHOD URL   prints the status and the body
 *     visitor.ts hold PORT        listens there
 *     visitor.ts idle PORT        keeps 1,000 connections open that say nothing
 *     visitor.ts slow PORT        keeps 100 connections open that say a byte now and then
 *     visitor.ts huge PORT        sends requests that have no end, eight at a time
 *     visitor.ts scrape PORT      asks for /metrics without a pause, eight at a time
 *
 * All but the first print a line as soon as they are at it, and run until they are killed.
 *
 * @module
 */
import { delay } from "@std/async/delay";

const [what, ...args] = Deno.args;
const port = Number(args[0]);
const PARALLEL = 8;

switch (what) {
  case "ask": {
    const [method = "", url = ""] = args;
    const response = await fetch(url, { method });
    print(`${response.status} ${await response.text()}`);
    break;
  }
  case "hold":
    Deno.listen({ hostname: "127.0.0.1", port });
    print("at it\n");
    await forever();
    break;
  case "idle":
    await visit(1000, async (connection) => {
      await connection.read(new Uint8Array(1));
    });
    break;
  case "slow":
    await visit(100, async (connection) => {
      for (;; await delay(50)) await connection.write(new Uint8Array([120]));
    });
    break;
  case "huge":
    await visit(PARALLEL, async (connection) => {
      const chunk = new TextEncoder().encode(`X: ${"x".repeat(60_000)}\r\n`);
      await connection.write(new TextEncoder().encode("POST /metrics HTTP/1.1\r\n\r\n"));
      while (true) await connection.write(chunk);
    });
    break;
  case "scrape":
    await visit(PARALLEL, async (connection) => {
      await connection.write(new TextEncoder().encode("GET /metrics HTTP/1.1\r\n\r\n"));
      const buffer = new Uint8Array(65536);
      while (await connection.read(buffer) !== null);
    });
    break;
  default:
    throw new TypeError(`Cannot visit as "${what}"`);
}

/** Keeps `count` connections, a new one for each that ends. */
async function visit(count: number, talk: (connection: Deno.TcpConn) => Promise<void>): Promise<void> {
  let first = 0;
  await Promise.all(Array.from({ length: count }, async () => {
    while (true) {
      try {
        using connection = await Deno.connect({ hostname: "127.0.0.1", port });
        if (++first === count) print("at it\n");
        await talk(connection);
      } catch {
        // It was cut off, as it should be.
      }
      if (count > PARALLEL) await delay(1000);
    }
  }));
}

function forever(): Promise<void> {
  return delay(2 ** 31 - 1);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

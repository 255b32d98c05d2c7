import { assert, assertEquals } from "@std/assert";
import { type Line, LineQueue } from "../../lib/log/queue.ts";
import { settled } from "../support/fake_clock.ts";

/** A queue whose lines are written when the test says so. */
class Slow {
  /** Each call of write: what it was to write, and its end. */
  readonly calls: { readonly texts: readonly string[]; end(written?: number): Promise<void> }[] = [];
  readonly queue = new LineQueue((lines) => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const end = (written = lines.length) => {
      resolve(written);
      return settled();
    };
    this.calls.push({ texts: lines.map(({ text }) => text), end });
    return promise;
  }, (lost) => ({ severity: "WARNING", text: `${lost} lost\n`, lost }));

  push(...texts: string[]): void {
    for (const text of texts) this.queue.push(lineOf(text));
  }

  texts(): readonly (readonly string[])[] {
    return this.calls.map(({ texts }) => texts);
  }
}

function lineOf(text: string): Line {
  return { severity: "INFO", text };
}

/** So long that two of them do not fit. */
const LONG = "x".repeat(600_000);

Deno.test("LineQueue.push() writes at once, and what comes meanwhile after it, in order", async () => {
  const slow = new Slow();
  slow.push("1", "2", "3");
  assertEquals(slow.texts(), [["1"]]);
  await slow.calls[0]!.end();
  slow.push("4");
  assertEquals(slow.texts(), [["1"], ["2", "3"]]);
  await slow.calls[1]!.end();
  await slow.calls[2]!.end();
  slow.push("5");
  assertEquals(slow.texts(), [["1"], ["2", "3"], ["4"], ["5"]]);
});

Deno.test("LineQueue.push() counts what finds no room, and tells where it would have been", async () => {
  const slow = new Slow();
  slow.push("1", LONG, LONG, LONG, "2", LONG);
  await slow.calls[0]!.end();
  assertEquals(slow.calls[1]!.texts, [LONG, "2 lost\n", "2", "1 lost\n"]);
  await slow.calls[1]!.end();
  assertEquals(slow.calls.length, 2);
});

Deno.test("LineQueue tells what was lost as soon as there is room, without another line", async () => {
  const slow = new Slow();
  slow.push("1", LONG, LONG);
  await slow.calls[0]!.end();
  assertEquals(slow.calls[1]!.texts, [LONG, "1 lost\n"]);
});

Deno.test("LineQueue.push() takes a line of any length when nothing waits", async () => {
  const slow = new Slow();
  slow.push("1", LONG + LONG);
  await slow.calls[0]!.end();
  assertEquals(slow.calls[1]!.texts, [LONG + LONG]);
});

Deno.test("LineQueue holds 1 MiB at most", async () => {
  const slow = new Slow();
  slow.push("1", ...Array<string>(100_000).fill("x".repeat(99) + "\n"));
  await slow.calls[0]!.end();
  const length = slow.calls[1]!.texts.join("").length;
  assert(length > 2 ** 20 - 200 && length < 2 ** 20 + 200, `${length}`);
});

Deno.test("LineQueue does not try again what could not be written, and tells it with the next line", async () => {
  const slow = new Slow();
  slow.push("1");
  await slow.calls[0]!.end(0);
  assertEquals(slow.calls.length, 1);
  slow.push("2", "3");
  assertEquals(slow.calls[1]!.texts, ["1 lost\n", "2"]);
  await slow.calls[1]!.end(0);
  assertEquals(slow.calls[2]!.texts, ["3"]);
  await slow.calls[2]!.end();
  assertEquals(slow.calls[3]!.texts, ["2 lost\n"]);
});

Deno.test("LineQueue.drain() resolves when nothing waits any more", async () => {
  const slow = new Slow();
  await slow.queue.drain();
  slow.push("1", "2");
  const drained = slow.queue.drain().then(() => "drained");
  await slow.calls[0]!.end();
  assertEquals(await Promise.race([drained, settled().then(() => "waiting")]), "waiting");
  await slow.calls[1]!.end();
  assertEquals(await drained, "drained");
});

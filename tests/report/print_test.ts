import { assertEquals, assertRejects } from "@std/assert";
import { print, PrintError } from "../../lib/report/print.ts";

/** Where text is printed to, with something in the way of some of the writes. */
class Stream {
  readonly written: string[] = [];
  readonly #obstacles: (Error | undefined)[];
  #decoder = new TextDecoder();

  constructor(...obstacles: (Error | undefined)[]) {
    this.#obstacles = obstacles;
  }

  write(bytes: Uint8Array): Promise<number> {
    const obstacle = this.#obstacles.shift();
    if (obstacle !== undefined) return Promise.reject(obstacle);
    this.written.push(this.#decoder.decode(bytes, { stream: true }));
    return Promise.resolve(bytes.length);
  }
}

Deno.test("print() writes whole lines, as many together as a pipe takes at once", async () => {
  const stream = new Stream();
  const lines = Array.from({ length: 2000 }, (_, line) => `${line} ${"–".repeat(line % 90)}\n`);
  const text = `\n\n${lines.join("")}${"x".repeat(3000)}\nno end`;
  await print(stream, text);
  assertEquals(stream.written.join(""), text);
  const broken = stream.written.filter((piece) => !piece.endsWith("\n") && piece !== "no end");
  const large = stream.written.filter((piece) => new TextEncoder().encode(piece).length > 4096);
  assertEquals([broken, large, stream.written.length < 150], [[], [], true]);
});

Deno.test("print() writes nothing of an empty text", async () => {
  const stream = new Stream(new Error("unused"));
  await print(stream, "");
  assertEquals(stream.written, []);
});

Deno.test("print() tries a full pipe again, until it takes the piece", async () => {
  const full = () => new Deno.errors.WouldBlock("Resource temporarily unavailable (os error 11)");
  const stream = new Stream(full(), full(), undefined, full());
  const text = `${"a".repeat(1000)}\n${"b".repeat(1000)}\n`;
  await print(stream, text);
  assertEquals(stream.written, text.match(/.+\n/g));
});

Deno.test("print() stops without an error when nobody reads any more", async () => {
  const stream = new Stream(undefined, new Deno.errors.BrokenPipe("Broken pipe (os error 32)"));
  await print(stream, `${"a".repeat(1000)}\n${"b".repeat(1000)}\n${"c".repeat(1000)}\n`);
  assertEquals(stream.written, [`${"a".repeat(1000)}\n`]);
});

Deno.test("print() says what else is in the way", async () => {
  const error = await assertRejects(
    () => print(new Stream(new Error("No space left on device (os error 28)")), "text\n"),
    PrintError,
  );
  assertEquals(error.message, "Cannot print: No space left on device (os error 28)");
});

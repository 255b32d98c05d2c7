import { assertEquals } from "@std/assert";
import { stderrWriter, writeLines } from "../../lib/log/write.ts";

/** Takes `chunk` bytes at most at each call, and fails with `error` when it has no more room. */
class FakePipe {
  room = Infinity;
  chunk = Infinity;
  error: Error = new Deno.errors.BrokenPipe("gone");
  text = "";
  onError = () => {};

  write(bytes: Uint8Array): Promise<number> {
    const taken = Math.min(bytes.length, this.room, this.chunk);
    if (taken === 0) {
      this.onError();
      return Promise.reject(this.error);
    }
    this.text += new TextDecoder().decode(bytes.subarray(0, taken));
    this.room -= taken;
    return Promise.resolve(taken);
  }
}

Deno.test("writeLines() goes on until all is written", async () => {
  const pipe = new FakePipe();
  pipe.chunk = 3;
  assertEquals(await writeLines(pipe, "#\n", ["0123456789\n", "ab\n"]), {
    length: 16,
    whole: 2,
    torn: false,
    error: undefined,
  });
  assertEquals(pipe.text, "#\n0123456789\nab\n");
});

Deno.test("writeLines() waits for a full pipe that does not block", async () => {
  const pipe = new FakePipe();
  pipe.room = 4;
  pipe.error = new Deno.errors.WouldBlock("full");
  pipe.onError = () => pipe.room = 100;
  assertEquals((await writeLines(pipe, "", ["0123456789\n"])).whole, 1);
  assertEquals(pipe.text, "0123456789\n");
});

Deno.test("writeLines() says how far it came", async () => {
  const results = [];
  for (const room of [0, 1, 2, 3, 4, 5, 8]) {
    const pipe = new FakePipe();
    pipe.room = room;
    const { length, whole, torn, error } = await writeLines(pipe, "#\n", ["12\n", "34\n"]);
    results.push([length, whole, torn, error === pipe.error]);
  }
  assertEquals(results, [
    [0, 0, false, true],
    [1, 0, true, true],
    [2, 0, false, true],
    [3, 0, true, true],
    [4, 0, true, true],
    [5, 1, false, true],
    [8, 2, false, false],
  ]);
});

Deno.test("stderrWriter() begins on a line of its own after one that was cut off", async () => {
  const pipe = new FakePipe();
  const write = stderrWriter(pipe);
  const lines = (text: string) => [{ severity: "INFO", text }] as const;
  pipe.room = 4;
  const written = [await write(lines("first line\n")), await write(lines("second line\n"))];
  pipe.room = Infinity;
  written.push(await write(lines("third line\n")), await write(lines("fourth line\n")));
  assertEquals(pipe.text, "firs\nthird line\nfourth line\n");
  assertEquals(written, [0, 0, 1, 1]);
});

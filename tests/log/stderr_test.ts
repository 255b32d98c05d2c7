import { assertEquals } from "@std/assert";
import { Stderr } from "../../lib/log/stderr.ts";

/** Standard error that takes `room` bytes at most at each call, and throws `error` when it has no more. */
class FakePipe {
  room = Infinity;
  chunk = Infinity;
  error: Error = new Deno.errors.WouldBlock("full");
  text = "";
  pauses = 0;
  onPause = () => {};
  readonly stderr = new Stderr((lost) => `${lost} lost\n`, {
    write: (bytes) => {
      const taken = Math.min(bytes.length, this.room, this.chunk);
      if (taken === 0) throw this.error;
      this.text += new TextDecoder().decode(bytes.subarray(0, taken));
      this.room -= taken;
      return taken;
    },
    pause: () => {
      this.pauses++;
      this.onPause();
    },
  });
}

Deno.test("Stderr.write() goes on until the whole line is written", () => {
  const pipe = new FakePipe();
  pipe.chunk = 3;
  pipe.stderr.write("0123456789\n");
  assertEquals(pipe.text, "0123456789\n");
});

Deno.test("Stderr.write() waits for a full pipe that does not block", () => {
  const pipe = new FakePipe();
  pipe.room = 4;
  pipe.onPause = () => pipe.room = 100;
  pipe.stderr.write("0123456789\n");
  assertEquals([pipe.text, pipe.pauses], ["0123456789\n", 1]);
});

Deno.test("Stderr.write() waits for a stuck pipe for a second, once, and says how many lines that lost", () => {
  const pipe = new FakePipe();
  pipe.room = 4;
  pipe.stderr.write("first line\n");
  assertEquals([pipe.text, pipe.pauses], ["firs", 200]);
  pipe.stderr.write("second line\n");
  pipe.stderr.write("third line\n");
  assertEquals([pipe.text, pipe.pauses], ["firs", 200]);
  pipe.room = Infinity;
  pipe.stderr.write("fourth line\n");
  pipe.stderr.write("fifth line\n");
  assertEquals(pipe.text, "firs\n3 lost\nfourth line\nfifth line\n");
});

Deno.test("Stderr.flush() says what was lost, once", () => {
  const pipe = new FakePipe();
  pipe.room = 0;
  pipe.stderr.write("first line\n");
  pipe.stderr.flush();
  pipe.room = Infinity;
  pipe.stderr.flush();
  pipe.stderr.flush();
  assertEquals(pipe.text, "1 lost\n");
});

Deno.test("Stderr.write() gives up at once, and throws nothing, when the reader is gone", () => {
  const pipe = new FakePipe();
  pipe.room = 0;
  pipe.error = new Deno.errors.BrokenPipe("gone");
  pipe.stderr.write("first line\n");
  pipe.stderr.flush();
  assertEquals([pipe.text, pipe.pauses], ["", 0]);
});

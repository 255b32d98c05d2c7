import { assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { Signals } from "../../lib/daemon/signals.ts";

// SIGINT ends `deno test` itself; tests/kernel/signals_test.ts sends it to the program.
Deno.test("Signals stops at the first SIGTERM and gives up patience at the second", async () => {
  using signals = new Signals();
  let isImpatient = false;
  signals.impatience.then(() => isImpatient = true);
  Deno.kill(Deno.pid, "SIGTERM");
  await until(() => signals.stop.aborted);
  assertEquals(isImpatient, false);
  Deno.kill(Deno.pid, "SIGTERM");
  await until(() => isImpatient);
});

Deno.test("Signals asks for a pass at each SIGHUP", async () => {
  using signals = new Signals();
  let asked = 0;
  signals.onReload = () => void asked++;
  for (let count = 1; count <= 3; count++) {
    Deno.kill(Deno.pid, "SIGHUP");
    await until(() => asked === count);
  }
  assertEquals(signals.stop.aborted, false);
});

/** Waits for a condition; a listener for signals alone would not keep the test running. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(1);
}

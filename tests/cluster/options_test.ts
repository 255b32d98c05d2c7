import { assertEquals, assertThrows } from "@std/assert";
import { optionsOf } from "./options.ts";

Deno.test("optionsOf() takes what is given, and names all that it cannot use", () => {
  const given = { NODES: "50", MINUTES: "30", LOSSES: "8", POLL: "1m", SEED: "7" };
  assertEquals(optionsOf(given), { nodes: 50, minutes: 30, rounds: 8, poll: "1m", seed: 7 });
  assertThrows(
    () => optionsOf({ NODES: "0", POLL: "often" }),
    RangeError,
    'Cannot use POLL="often": it has to be like 10s or 1m\nCannot use NODES="0": it has to be a whole number from 1 to 200',
  );
});

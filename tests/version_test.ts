import { assertEquals } from "@std/assert";
import config from "../deno.json" with { type: "json" };
import { COMMIT, VERSION } from "../lib/version.ts";

Deno.test("VERSION is that of deno.json", () => {
  assertEquals(VERSION, config.version);
});

Deno.test("COMMIT is unknown until a build puts it in", () => {
  assertEquals(COMMIT, "unknown");
});

import { run } from "./lib/run.ts";

if (import.meta.main) Deno.exit(await run(Deno.args));

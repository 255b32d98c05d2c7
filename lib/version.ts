/** Release of the program, the same as in deno.json (a JSON import would put the whole of that file into the bundle). */
export const VERSION: string = "0.1.0";

/** Commit the program was built from; the `bundle` task of deno.json puts it in. */
export const COMMIT: string = "unknown";

/**
 * Test equipment: the programs of Prometheus, which Debian's package prometheus has.
 *
 * @module
 */

/**
 * Why there can be no tests with promtool and prometheus on this machine; empty if there can. With CI=true in the
 * environment it is empty always, so that those tests fail.
 */
export function prometheusObstacle(): string {
  if (Deno.env.get("CI") === "true") return "";
  const isThere = (name: string) => {
    try {
      return new Deno.Command(name, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync().success;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  };
  return isThere("promtool") && isThere("prometheus") ? "" : "Debian's package prometheus is not installed";
}

/** Runs promtool to its end. */
export async function promtool(args: readonly string[], stdin = ""): Promise<{ code: number; said: string }> {
  const child = new Deno.Command("promtool", { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    new Blob([stdin]).stream().pipeTo(child.stdin).catch((error) => {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // its exit code tells more
    }),
  ]);
  const decoder = new TextDecoder();
  return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
}

/**
 * What the build scripts ask other programs.
 *
 * @module
 */

/**
 * Runs a program.
 *
 * @returns Its standard output.
 * @throws {Error} with its standard error when it fails.
 */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  if (code !== 0) throw new Error(`Cannot run "${program} ${args.join(" ")}": ${decoder.decode(stderr).trimEnd()}`);
  return decoder.decode(stdout).trim();
}

/** COMMIT in the environment, or that of the working copy; "unknown" where there is no git or no commit, as in an archive. */
export async function describeCommit(): Promise<string> {
  const commit = Deno.env.get("COMMIT");
  if (commit !== undefined) return commit;
  return await run("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty").catch(() => "unknown");
}

/** When the commit was made, in seconds since 1970: SOURCE_DATE_EPOCH in the environment, or what git says. */
export async function dateCommit(): Promise<string> {
  return Deno.env.get("SOURCE_DATE_EPOCH") ?? await run("git", "log", "-1", "--format=%ct").catch(() => "0");
}

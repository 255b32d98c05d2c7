/**
 * Whether a program is on this machine.
 *
 * @param flag One with which it ends at once.
 */
export function isInstalled(program: string, flag = "--version"): boolean {
  try {
    return new Deno.Command(program, { args: [flag], stdout: "null", stderr: "null" }).outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What a test needs that this machine may lack: ready to be spread into its definition. */
export interface Need {
  readonly name: string;
  readonly ignore: boolean;
}

/** Lets a test be skipped where a program is missing, and says so in its name; with CI=true it runs, and fails. */
export function needing(program: string, name: string, flag?: string): Need {
  if (Deno.env.get("CI") === "true" || isInstalled(program, flag)) return { name, ignore: false };
  return { name: `${name} (skipped: ${program} is not installed)`, ignore: true };
}

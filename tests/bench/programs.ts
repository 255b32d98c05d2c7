/**
 * What is measured, and what it is compared with.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url).pathname;
const EMPTY = `${ROOT}dist/bench/empty`;

/** The command lines of the programs. */
export interface Programs {
  /** The compiled program. */
  readonly ours: readonly string[];
  /** A program that does nothing, of the same runtime, compiled in the same way. */
  readonly empty: readonly string[];
  /** The original's way of working; see reference.ts. */
  readonly reference: readonly string[];
}

/**
 * Finds them, and makes the empty one if it is not there.
 *
 * @param program The compiled program, or a bundle of it, which is run by this Deno.
 */
export async function findPrograms(program = `${ROOT}dist/apiserver-proxy-sidecar`): Promise<Programs> {
  const reference = [Deno.execPath(), "run", "--quiet", "-P=test", `${ROOT}tests/bench/reference.ts`];
  await Deno.stat(program).catch(() => {
    throw new Error(`Cannot find ${program}: run "make build" first, or name another with PROGRAM=`);
  });
  await Deno.mkdir(`${ROOT}dist/bench`, { recursive: true });
  await Deno.writeTextFile(`${EMPTY}.js`, "// Nothing to do.\n");
  const [compile, ...options] = await buildCommand();
  if (program.endsWith(".js")) {
    const run = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", `--config=${ROOT}deno.json`, "-P"];
    const argv = [...run, ...options.filter((option) => option.startsWith("--v8-flags"))];
    return { ours: [...argv, program], empty: [...argv, `${EMPTY}.js`], reference };
  }
  const file = `${EMPTY}-${Deno.version.deno}`;
  const settings = JSON.stringify([options, Deno.env.get("DENORT_BIN")]);
  const isThere = await Deno.readTextFile(`${file}.json`).then((text) => text === settings, () => false);
  if (!isThere) {
    const args = [compile!, ...options, "--output", file, `${EMPTY}.js`];
    const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
    if (!success) {
      const said = new TextDecoder().decode(stderr).trim();
      throw new Error(`Cannot compile an empty program; give the DENO_VERSION and DENORT_BIN of "make build": ${said}`);
    }
    await Deno.writeTextFile(`${file}.json`, settings);
  }
  return { ours: [program], empty: [file], reference };
}

/** What `deno compile` is told by the task `build`, without its input and output. */
async function buildCommand(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const task: string = (tasks.compile ?? tasks.build).command;
  const command = task.match(/deno (compile .*?)(?: --output \S+ \S+)?$/)?.[1];
  if (command === undefined) throw new Error("Cannot read how deno.json compiles");
  return command.split(" ");
}

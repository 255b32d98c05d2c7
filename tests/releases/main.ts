/**
 * Runs the tests on the real kernel, or the command that is given as arguments, with the tools of other releases of Debian than
 * that of this machine: in a root directory that debootstrap makes, so that all that is started there is of that release.
 *
 * RELEASES: which ones (all); TESTS: files and folders (tests/kernel); RELEASES_CACHE: a folder in which root directories are
 * kept (none).
 *
 * @module
 */
import { run } from "../../.ci/commands.ts";
import { bootstrap } from "../support/debian.ts";
import { isInstalled } from "../support/installed.ts";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
// Deno reads the certificates before it connects to anything.
const PACKAGES = ["ca-certificates", "conntrack", "iproute2", "iptables", "nftables"];
const RUN_TESTS = ["deno", "task", "--quiet", "run-tests"];
const DENO = Deno.execPath().replace(/\/[^/]*$/, "");

const own = /^VERSION_CODENAME=(.*)$/m.exec(await Deno.readTextFile("/etc/os-release"))?.[1];
const releases = words("RELEASES", "bullseye bookworm trixie").filter((release) => release !== own);
const obstacle = findObstacle();
if (obstacle === undefined) Deno.exitCode = await main();
else {
  say(`The tests with other releases are skipped: ${obstacle}`);
  Deno.exitCode = Deno.env.get("CI") === "true" ? 1 : 0;
}

function findObstacle(): string | undefined {
  if (releases.length === 0) return `RELEASES names none but that of this machine, ${own}`;
  if (Deno.uid() !== 0) return "debootstrap needs root";
  if (!isInstalled("debootstrap")) return 'debootstrap is not installed: "make test-releases" installs it';
  return undefined;
}

async function main(): Promise<number> {
  const cache = Deno.env.get("RELEASES_CACHE");
  const folder = cache ?? await Deno.makeTempDir({ prefix: "releases-" });
  const failed: string[] = [];
  try {
    for (const release of releases) {
      const root = await prepare(release, folder);
      if (!await test(release, root)) failed.push(release);
      if (cache === undefined) await Deno.remove(root, { recursive: true });
    }
  } finally {
    if (cache === undefined) await Deno.remove(folder, { recursive: true });
  }
  if (failed.length > 0) say(`Failed with the tools of ${failed.join(" and ")}`);
  return failed.length === 0 ? 0 : 1;
}

/** Makes the root directory of a release unless it is there. */
async function prepare(release: string, folder: string): Promise<string> {
  const root = `${folder}/${release}`;
  if (await Deno.stat(root).then(() => true, () => false)) return root;
  say(`Making ${release} with debootstrap ...`);
  const since = performance.now();
  // One that was not finished is not taken for one that was.
  await Deno.remove(`${root}.new`, { recursive: true }).catch(() => {});
  await bootstrap(release, `${root}.new`, PACKAGES);
  await Deno.rename(`${root}.new`, root);
  say(`It took ${Math.round((performance.now() - since) / 1000)} s`);
  return root;
}

/** Runs the tests, or the command, with a release; tells whether it succeeded. */
async function test(release: string, root: string): Promise<boolean> {
  const { denoDir } = JSON.parse(await run(Deno.execPath(), "info", "--json"));
  const enter = ["unshare", "--mount", "sh", `${REPOSITORY}tests/releases/enter.sh`, root];
  const folders = ["/dev", "/proc", "/sys", DENO, denoDir, REPOSITORY.replace(/\/$/, "")];
  const inside = async (...argv: string[]) => {
    const [program = "", ...args] = [...enter, ...folders, "--", ...argv];
    const env = { DENO_DIR: denoDir, PATH: `${DENO}:/usr/sbin:/usr/bin:/sbin:/bin`, TMPDIR: "/tmp" };
    return (await new Deno.Command(program, { args, cwd: REPOSITORY, env, stdin: "null" }).spawn().status).success;
  };
  say(`With the tools of ${release}:`);
  return await inside("sh", "-c", "ip -V; iptables --version; nft --version") &&
    await inside(...Deno.args.length > 0 ? Deno.args : [...RUN_TESTS, ...words("TESTS", "tests/kernel")]);
}

/** The words of a variable of the environment. */
function words(name: string, initial: string): readonly string[] {
  return (Deno.env.get(name) || initial).split(/\s+/).filter((word) => word !== "");
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

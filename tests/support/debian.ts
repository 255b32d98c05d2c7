/**
 * Test equipment: root directories with a release of Debian in them.
 *
 * @module
 */
import { run } from "../../.ci/commands.ts";

/**
 * Makes one, from where apt gets the packages of this machine. Needs root.
 *
 * @param packages Besides those that every Debian has.
 */
export async function bootstrap(release: string, folder: string, packages: readonly string[] = []): Promise<void> {
  const include = packages.length === 0 ? [] : [`--include=${packages.join(",")}`];
  // What it mounts goes with it, even if it is killed.
  const args = ["--mount", "debootstrap", "--variant=minbase", ...include, release, folder, await findMirror()];
  await run("unshare", ...args);
}

/** Where apt gets the packages of this machine from; the same has those of other releases. */
async function findMirror(): Promise<string> {
  const list = () => run("apt-get", "indextargets", "--format=$(LABEL) $(REPO_URI)", "Created-By: Packages");
  const find = (text: string) => /^Debian (\S+)$/m.exec(text)?.[1];
  const mirror = find(await list());
  if (mirror !== undefined) return mirror;
  await run("apt-get", "--quiet=2", "update");
  const found = find(await list());
  if (found === undefined) throw new Error("Cannot find a mirror of Debian: apt's sources name none");
  return found;
}

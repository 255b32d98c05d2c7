/**
 * Builds the image for both architectures, on base images made here, in a store of its own that is gone in the end; then runs
 * the command that is given as arguments.
 *
 * No base image is pulled: debootstrap makes Debian's from where apt gets its packages, and Deno's holds the Deno that runs this.
 *
 * @module
 */

import { bootstrap } from "../support/debian.ts";
import { IMAGE, TAG } from "./images.ts";

const DENO_IMAGE = `docker.io/denoland/deno:bin-${Deno.version.deno}`;
const DEBIAN_IMAGE = "docker.io/library/debian:trixie-slim";
const HAPROXY_IMAGE = "docker.io/library/haproxy:3.0";
const TOOLS = ["buildah", "catatonit", "debootstrap", "podman", "runc", "qemu-aarch64-static", "curl", "jq"];
const REPOSITORY = new URL("../../", import.meta.url).pathname;

const obstacle = await findObstacle();
if (obstacle === undefined) Deno.exitCode = await main();
else {
  say(`The tests of the image are skipped: ${obstacle}`);
  Deno.exitCode = Deno.env.get("CI") === "true" ? 1 : 0;
}

async function findObstacle(): Promise<string | undefined> {
  if (Deno.uid() !== 0) return "debootstrap, and limits on containers, need root";
  for (const tool of TOOLS) {
    if (!await succeeds("sh", "-c", `command -v ${tool}`)) {
      return `${tool} is not installed: "make test-image" installs it`;
    }
  }
  return undefined;
}

async function main(): Promise<number> {
  const folder = await Deno.makeTempDir({ prefix: "image-" });
  const env = { ...await describeStore(folder), BUILDAH_ISOLATION: "chroot", IMAGE_FOLDER: folder };
  try {
    const since = performance.now();
    await makeBases(folder, env);
    await must(["deno", "task", "--quiet", "docker-images"], {
      ...env,
      ENGINE: "buildah",
      IMAGE,
      TAG,
      COMMIT: "0123456789ab",
      SOURCE_DATE_EPOCH: "1700000000",
    });
    say(`The images took ${Math.round((performance.now() - since) / 1000)} s`);
    const [program = "true", ...args] = Deno.args;
    return (await new Deno.Command(program, { args, env }).spawn().status).code;
  } finally {
    await must(["podman", "pod", "rm", "--all", "--force", "--time=0"], env);
    await must(["podman", "rm", "--all", "--force", "--time=0"], env);
    await must(["buildah", "rm", "--all"], env);
    await must(["podman", "image", "umount", "--all", "--force"], env);
    // The driver keeps its own folder mounted, and podman the group above those of its containers.
    await succeeds("umount", `${folder}/graph/overlay`);
    await succeeds("sh", "-c", "find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} +");
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes down for buildah and podman where they are to keep everything, and how to run containers. */
async function describeStore(folder: string): Promise<Record<string, string>> {
  const trial = `cd ${folder} && mkdir 0 1 2 && mount -t overlay overlay -o lowerdir=0,upperdir=1,workdir=2 0`;
  const driver = await succeeds("unshare", "--mount", "sh", "-c", trial) ? "overlay" : "vfs";
  await Deno.writeTextFile(
    `${folder}/storage.conf`,
    `[storage]
driver = "${driver}"
graphroot = "${folder}/graph"
runroot = "${folder}/run"
`,
  );
  // Without CAP_SYS_RESOURCE runc fails at the limits that podman always sets.
  await Deno.writeTextFile(
    `${folder}/runtime`,
    `#!/bin/sh
set -eu
without_limits() {
  jq 'del(.process.rlimits, .rlimits)' "$1" > "$1.new"
  mv "$1.new" "$1"
}
for argument; do
  case "\${before-}" in
    --bundle) without_limits "$argument/config.json" ;;
    --process) without_limits "$argument" ;;
  esac
  before=$argument
done
exec runc "$@"
`,
    { mode: 0o755 },
  );
  await Deno.writeTextFile(
    `${folder}/containers.conf`,
    `[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
init_path = "${(await output("sh", "-c", "command -v catatonit")).trim()}"
lock_type = "file"
runtime = "without-limits"
tmp_dir = "${folder}/tmp"
[engine.runtimes]
without-limits = ["${folder}/runtime"]
`,
  );
  return { CONTAINERS_STORAGE_CONF: `${folder}/storage.conf`, CONTAINERS_CONF: `${folder}/containers.conf` };
}

async function makeBases(folder: string, env: Record<string, string>): Promise<void> {
  const debian = `${folder}/debian`;
  say(`Making ${DEBIAN_IMAGE} with debootstrap ...`);
  await bootstrap("trixie", debian);
  await must(
    [
      "sh",
      "-ec",
      `
    from_folder() {
      container=$(buildah from scratch)
      buildah add --quiet "$container" "$1" "$2"
      buildah commit --quiet --rm "$container" "$3"
    }
    from_folder ${debian} / ${DEBIAN_IMAGE}
    from_folder "$(readlink -f ${Deno.execPath()})" /deno ${DENO_IMAGE}
    container=$(buildah from ${DEBIAN_IMAGE})
    buildah run "$container" -- sh -c 'apt-get update && apt-get install --yes --no-install-recommends haproxy'
    buildah config --env PATH=/usr/sbin:/usr/bin "$container"
    buildah commit --quiet --rm "$container" ${HAPROXY_IMAGE}
  `,
    ],
    env,
    "quiet",
  );
  await Deno.remove(debian, { recursive: true });
}

/** Runs a program that has to succeed; `quiet` shows what it says only if it does not. */
async function must(argv: readonly string[], env: Record<string, string>, manner?: "quiet"): Promise<void> {
  const [program = "", ...args] = argv;
  const stream = manner === "quiet" ? "piped" : "inherit";
  const child = new Deno.Command(program, { args, cwd: REPOSITORY, env, stdin: "null", stdout: stream, stderr: stream })
    .spawn();
  const said = manner === "quiet"
    ? await Promise.all([child.stdout, child.stderr].map((s) => new Response(s).text()))
    : [];
  if ((await child.status).code !== 0) throw new Error(`Cannot run "${argv.join(" ")}"\n${said.join("")}`);
}

async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  return (await new Deno.Command(program, { args, stdout: "null", stderr: "null" }).output()).success;
}

async function output(program: string, ...args: string[]): Promise<string> {
  return new TextDecoder().decode((await new Deno.Command(program, { args }).output()).stdout);
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

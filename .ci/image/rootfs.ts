/**
 * Makes the root folder of the image out of Debian packages and the program: the tools that the program starts, the
 * extensions of iptables (a listing may meet any rule), what they are linked against, what scanners and licences ask for,
 * and nothing else. Nothing of it is run, so that it may be of another architecture.
 *
 *     rootfs.ts ARCHITECTURE FOLDER-OF-PACKAGES PROGRAM OUTPUT
 *
 * @module
 */

import config from "../../deno.json" with { type: "json" };
import { run } from "../commands.ts";
import { readElf } from "../elf.ts";

const [architecture = "", packages = "", program = "", output = ""] = Deno.args;
/** libxt_NOTRACK.so and others are links. */
const EXTENSION = /^\/usr\/lib\/[^/]+\/xtables\/lib(xt|ipt|ip6t)_[^/]+\.so$/;
/** The names of iptables, which Debian makes when it installs the package; those without a back end drive nft, as there. */
const NAMES = ["iptables", "ip6tables"].flatMap((family) =>
  ["", "-save", "-restore"].flatMap((what) => [
    { name: `${family}${what}`, target: "xtables-nft-multi" },
    { name: `${family}-nft${what}`, target: "xtables-nft-multi" },
    { name: `${family}-legacy${what}`, target: "xtables-legacy-multi" },
  ])
);
const ACCOUNTS = {
  passwd: ["root:x:0:0:root:/:/sbin/nologin", "nobody:x:65534:65534:nobody:/:/sbin/nologin"],
  group: ["root:x:0:", "nogroup:x:65534:"],
};

/** A file or link of a package. */
interface Entry {
  readonly owner: string;
  /** Where it has been unpacked. */
  readonly source: string;
  /** Where a link leads. */
  readonly target: string | undefined;
}

/** It stands in front of an xtables-monitor before 1.8.11, and these packages have a newer one. */
const SPARED = "stdbuf";
const unpacked = await Deno.makeTempDir();
const entries = new Map<string, Entry>();
const controls = new Map<string, string>();
for (const { name: file } of Deno.readDirSync(packages)) {
  if (!file.endsWith(".deb")) continue;
  const owner = file.replace(/_.*/, "");
  controls.set(owner, await run("dpkg-deb", "--field", `${packages}/${file}`));
  await run("dpkg-deb", "--extract", `${packages}/${file}`, `${unpacked}/${owner}`);
  collect(owner, "");
}
const libraries = dirname([...entries.keys()].find((path) => path.endsWith("/libc.so.6")) ?? "");

const taken = new Set<string>();
await copy(program, "/apiserver-proxy-sidecar", 0o755);
await takeWhatItNeeds(program, "the program");
for (const tool of config.permissions.default.run) {
  if (tool !== SPARED && !NAMES.some(({ name }) => name === tool)) await take(find(tool), "the program");
}
for (const path of entries.keys()) if (EXTENSION.test(path)) await take(path, "the tools");
for (const { name, target } of NAMES) {
  await link(target, `/usr/sbin/${name}`);
  await take(`/usr/sbin/${target}`, name);
}
await take("/etc/os-release", "scanners");
for (const [name, lines] of Object.entries(ACCOUNTS)) await write(`/etc/${name}`, `${lines.join("\n")}\n`);
await copy("LICENSE", "/usr/share/doc/apiserver-proxy-sidecar/copyright");
for (const owner of new Set([...taken].flatMap((path) => entries.get(path)?.owner ?? []))) await document(owner);
for (const folder of ["run", "tmp"]) await Deno.mkdir(`${output}/${folder}`, { recursive: true });
await Deno.chmod(`${output}/tmp`, 0o1777);
await Deno.remove(unpacked, { recursive: true });

/** Notes down what a package holds. */
function collect(owner: string, folder: string): void {
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(`${unpacked}/${owner}${folder}`)) {
    const path = `${folder}/${name}`;
    const source = `${unpacked}/${owner}${path}`;
    if (isDirectory) collect(owner, path);
    else entries.set(path, { owner, source, target: isSymlink ? Deno.readLinkSync(source) : undefined });
  }
}

/** The path of a program in the packages. */
function find(program: string): string {
  const path = ["/usr/bin", "/usr/sbin"].map((folder) => `${folder}/${program}`).find((path) => entries.has(path));
  if (path === undefined) throw new Error(`Cannot find ${program}, which the program starts: no package has it`);
  return path;
}

/** Puts a file of a package into the image, with the links on the way to it, and all that it is linked against. */
async function take(path: string, user: string): Promise<void> {
  if (taken.has(path)) return;
  const entry = entries.get(path);
  if (entry === undefined) {
    const folder = ancestors(path).find((folder) => entries.has(folder));
    if (folder === undefined) throw new Error(`Cannot find ${path}, which ${user} needs: no package has it`);
    const target = entries.get(folder)?.target ?? "";
    await link(target, folder);
    return take(`${join(dirname(folder), target)}${path.slice(folder.length)}`, user);
  }
  if (entry.target !== undefined) {
    await link(entry.target, path);
    return take(join(dirname(path), entry.target), path);
  }
  taken.add(path);
  const { mode } = await Deno.stat(entry.source);
  await copy(entry.source, path, mode !== null && (mode & 0o100) !== 0 ? 0o755 : 0o644);
  await takeWhatItNeeds(entry.source, path);
}

async function takeWhatItNeeds(source: string, user: string): Promise<void> {
  const elf = readElf(await Deno.readFile(source));
  if (elf === undefined) return;
  if (elf.architecture !== architecture) {
    throw new Error(`Cannot use ${user} for ${architecture}: it is ${elf.architecture}`);
  }
  if (elf.loader !== undefined) await take(elf.loader, user);
  for (const name of elf.libraries) await take(`${libraries}/${name}`, user);
}

/** Puts in what scanners read of a package, and its licences. */
async function document(owner: string): Promise<void> {
  await write(`/var/lib/dpkg/status.d/${owner}`, `${controls.get(owner)}\n`);
  const folder = `/usr/share/doc/${owner}`;
  // The documentation of libgcc-s1 is a link to that of a package which is not needed for anything else.
  const home = entries.get(folder)?.target ?? owner;
  const { source } = entries.get(`/usr/share/doc/${home}/copyright`) ?? {};
  if (source === undefined) throw new Error(`Cannot find the licence of ${owner}: no package has ${folder}/copyright`);
  await copy(source, `${folder}/copyright`);
  for (const [path] of (await Deno.readTextFile(source)).matchAll(/\/usr\/share\/common-licenses\/[\w.-]*\w/g)) {
    if (entries.has(path)) await take(path, owner);
  }
}

async function copy(source: string, path: string, mode = 0o644): Promise<void> {
  await Deno.mkdir(`${output}${dirname(path)}`, { recursive: true });
  await Deno.copyFile(source, `${output}${path}`);
  await Deno.chmod(`${output}${path}`, mode);
}

async function write(path: string, text: string): Promise<void> {
  await Deno.mkdir(`${output}${dirname(path)}`, { recursive: true });
  await Deno.writeTextFile(`${output}${path}`, text);
}

async function link(target: string, path: string): Promise<void> {
  if (taken.has(path)) return;
  taken.add(path);
  await Deno.mkdir(`${output}${dirname(path)}`, { recursive: true });
  await Deno.symlink(target, `${output}${path}`);
}

function dirname(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function ancestors(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(2).map((_, index) => parts.slice(0, index + 2).join("/"));
}

/** The path that a link in a folder leads to. */
function join(folder: string, target: string): string {
  return new URL(target, `file://${folder}/`).pathname;
}

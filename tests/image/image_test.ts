import { assert, assertEquals } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { readElf } from "../../.ci/elf.ts";
import { folder, IMAGE, ok, run, TAG } from "./images.ts";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
const PROGRAM = "/apiserver-proxy-sidecar";
/** Everything that may be in the image; nothing else is. */
const KINDS: Readonly<Record<string, RegExp>> = {
  program: /^\/apiserver-proxy-sidecar$/,
  tools: /^\/usr\/(bin\/(ip|prlimit|ss)|sbin\/(nft|xtables-(monitor|(nft|legacy)-multi)))$/,
  "names of iptables": /^\/usr\/sbin\/ip6?tables(-nft|-legacy)?(-save|-restore)?$/,
  extensions: /^\/usr\/lib\/[^/]+-linux-gnu\/xtables\/lib(xt|ipt|ip6t)_\w+\.so$/,
  libraries: /^\/usr\/lib\/[^/]+-linux-gnu\/lib[\w.-]+\.so(\.[\d.]+)?$/,
  loader: /^(\/lib|\/lib64|\/usr\/lib(64|\/[^/]+-linux-gnu)?\/ld-linux-[\w-]+\.so\.\d)$/,
  accounts: /^\/etc\/(passwd|group)$/,
  release: /^\/(etc|usr\/lib)\/os-release$/,
  "what scanners read":
    /^\/(var\/lib\/dpkg\/status\.d\/[\w.+-]+|usr\/share\/sbom\/apiserver-proxy-sidecar\.cdx\.json)$/,
  licences: /^\/usr\/share\/(doc\/[\w.+-]+\/copyright|common-licenses\/[\w.-]+)$/,
};

for (const architecture of ["amd64", "arm64"] as const) {
  const name = `${IMAGE}:${TAG}-${architecture}`;

  Deno.test(`${architecture}: nothing unknown, unused, unresolved or of another architecture is in the image`, async () => {
    const root = await mount(name);
    const paths = [...walk(root)];
    const kindOf = (path: string) => Object.keys(KINDS).find((kind) => KINDS[kind]?.test(path)) ?? "unknown";
    const kinds = Object.groupBy(paths, kindOf);
    assertEquals(kinds["unknown"], undefined);
    assertEquals(Object.keys(KINDS).filter((kind) => kinds[kind] === undefined), []);
    assertEquals(kinds["names of iptables"]?.length, 18);

    // What the program starts is there, but for what an xtables-monitor before 1.8.11 needs.
    const tools = config.permissions.default.run;
    assertEquals(
      tools.filter((tool) => !paths.some((path) => /^\/usr\/s?bin\//.test(path) && path.endsWith(`/${tool}`))),
      ["stdbuf"],
    );

    // Every library is needed, and everything that is needed is there.
    const files = paths.filter((path) => !Deno.lstatSync(`${root}${path}`).isSymlink);
    const elves = files.flatMap((path) => readElf(Deno.readFileSync(`${root}${path}`)) ?? []);
    assertEquals([...new Set(elves.map((elf) => elf.architecture))], [architecture]);
    const needed = new Set(elves.flatMap(({ libraries }) => libraries));
    const names = new Set((kinds["libraries"] ?? []).map((path) => path.replace(/.*\//, "")));
    const loaders = (kinds["loader"] ?? []).map((path) => path.replace(/.*\//, ""));
    assertEquals([...needed].filter((library) => !names.has(library) && !loaders.includes(library)), []);
    const targets = new Set(
      paths.filter((path) => !files.includes(path)).map((path) => Deno.readLinkSync(`${root}${path}`)),
    );
    assertEquals([...names].filter((library) => !needed.has(library) && !targets.has(library)), []);

    // Every file of Debian's is of a package that is listed, with its licence.
    const packages = paths.flatMap((path) => /status\.d\/(.*)/.exec(path)?.[1] ?? []);
    assertEquals(packages.filter((owner) => !paths.includes(`/usr/share/doc/${owner}/copyright`)), []);
    for (const link of paths.filter((path) => !files.includes(path))) {
      assert(await leads(root, link), `${link} leads nowhere`);
    }
  });

  Deno.test(`${architecture}: the program needs glibc 2.27 at most`, async () => {
    const elf = readElf(await Deno.readFile(`${await mount(name)}${PROGRAM}`));
    assertEquals(elf?.architecture, architecture);
    const versions = (elf?.glibc ?? []).map((version) => Number(version.split(".")[1]));
    assert(versions.length > 0);
    assertEquals(Math.max(...versions), 27);
  });

  Deno.test(`${architecture}: the bill of materials names every package, and Deno`, async () => {
    const root = await mount(name);
    const sbom = JSON.parse(await Deno.readTextFile(`${root}/usr/share/sbom/apiserver-proxy-sidecar.cdx.json`));
    assertEquals([sbom.bomFormat, sbom.specVersion, sbom.metadata.component.version], [
      "CycloneDX",
      "1.6",
      config.version,
    ]);
    const components: readonly Record<string, unknown>[] = sbom.components;
    const named = (type: string) => components.filter(({ purl }) => `${purl}`.startsWith(`pkg:${type}/`));
    assertEquals(
      named("npm").map(({ name, version }) => `${name}@${version}`).toSorted(),
      Object.keys(JSON.parse(await Deno.readTextFile(`${REPOSITORY}deno.lock`)).npm).toSorted(),
    );
    assertEquals(named("npm").filter(({ licenses, hashes }) => licenses === undefined || hashes === undefined), []);
    assertEquals(
      named("npm").filter(({ scope }) => scope === "excluded").map(({ name }) => name),
      ["@jridgewell/sourcemap-codec"],
    );
    assertEquals(named("github").map(({ name }) => name), ["deno"]);
    const packages = [...Deno.readDirSync(`${root}/var/lib/dpkg/status.d`)].map(({ name }) => name);
    assertEquals(named("deb").map(({ name }) => name), packages.toSorted());
    assertEquals(named("deb").filter(({ purl }) => !/\?arch=(all|amd64|arm64)&distro=debian-13$/.test(`${purl}`)), []);
  });
}

Deno.test("the image says what it is, and starts the program", async () => {
  const [{ Config, Size }] = JSON.parse(await ok(["podman", "image", "inspect", `${IMAGE}:${TAG}`]));
  assertEquals(Config.Entrypoint, [PROGRAM]);
  assertEquals(Config.Env, ["PATH=/usr/sbin:/usr/bin"]);
  const labels = Object.entries<string>(Config.Labels).flatMap(([name, value]) => {
    const [, key] = /^org\.opencontainers\.image\.(.*)$/.exec(name) ?? [];
    return key === undefined || key === "description" ? [] : [[key, value]];
  });
  assertEquals(Object.fromEntries(labels), {
    "base.name": "scratch",
    licenses: "Apache-2.0",
    revision: "0123456789ab",
    source: "https://github.com/gardener-community/apiserver-proxy-sidecar",
    title: "apiserver-proxy-sidecar",
    version: config.version,
  });
  assert(Size < 115e6, `${Size} bytes`);
  const { code, stdout, stderr } = await run([
    "podman",
    "run",
    "--rm",
    "--network=none",
    `${IMAGE}:${TAG}`,
    "--version",
  ]);
  assertEquals([code, stdout, stderr], [0, `apiserver-proxy-sidecar ${config.version} (0123456789ab)\n`, ""]);
});

Deno.test("every extension of iptables can be loaded", async () => {
  const root = await mount(`${IMAGE}:${TAG}`);
  const [directory = ""] = [...walk(root)].filter((path) => path.endsWith("/libxt_CT.so"));
  const files = [...Deno.readDirSync(`${root}${directory.replace(/\/[^/]*$/, "")}`)].map(({ name }) => name);
  assert(files.length > 90, `${files}`);
  const refused = await Promise.all(files.map(async (file) => {
    const [, family, extension = ""] = /^lib(xt|ipt|ip6t)_(.*)\.so$/.exec(file) ?? [];
    // Targets are in capitals, but for one.
    const flag = /^[A-Z]/.test(extension) || extension === "standard" ? "-j" : "-m";
    const program = family === "ip6t" ? "ip6tables" : "iptables";
    const { code, stderr } = await run([
      "unshare",
      "--net",
      "chroot",
      root,
      `/usr/sbin/${program}`,
      flag,
      extension,
      "-h",
    ]);
    return code === 0 ? [] : [`${file}: ${stderr}`];
  }));
  assertEquals(refused.flat(), []);
});

Deno.test("a second build gives the same image, with the program that a build elsewhere gives", async () => {
  const deep = `${folder()}/a/deeper/place`;
  await Deno.mkdir(deep, { recursive: true });
  const files = ["main.ts", "lib", "deno.json", "deno.lock", "LICENSE", "Dockerfile", ".dockerignore", ".ci"];
  await ok(["cp", "--recursive", ...files.map((file) => `${REPOSITORY}${file}`), deep]);
  const variables = {
    ...{ ENGINE: "buildah", IMAGE, TAG: "again", ARCH: "amd64" },
    ...{ COMMIT: "0123456789ab", SOURCE_DATE_EPOCH: "1700000000" },
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  await ok(["env", `--chdir=${deep}`, ...assignments, "deno", "task", "--quiet", "docker-images"]);
  const id = (tag: string) => ok(["podman", "image", "inspect", "--format={{.Id}} {{.Digest}}", `${IMAGE}:${tag}`]);
  assertEquals(await id("again-amd64"), await id(`${TAG}-amd64`));

  await ok(["env", `--chdir=${deep}`, ...assignments, "deno", "task", "--quiet", "build"]);
  const sum = async (path: string) => (await ok(["sha256sum", path])).split(" ")[0];
  const root = await mount(`${IMAGE}:${TAG}-amd64`);
  assertEquals(await sum(`${deep}/dist/apiserver-proxy-sidecar`), await sum(`${root}${PROGRAM}`));
});

/** The folder at which an image can be looked at. */
async function mount(name: string): Promise<string> {
  return (await ok(["podman", "image", "mount", name])).trim();
}

/** All files and links below a folder. */
function* walk(root: string, folder = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(`${root}${folder}`)) {
    if (isDirectory) yield* walk(root, `${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}

/** Whether a link leads to something in the image. */
async function leads(root: string, link: string): Promise<boolean> {
  const target = new URL(await Deno.readLink(`${root}${link}`), `file://${link}`).pathname;
  return await Deno.lstat(`${root}${target}`).then(() => true, () => false);
}

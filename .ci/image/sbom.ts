/**
 * Prints what is in the image, in the format CycloneDX 1.6: the npm packages of deno.lock (excluded: needed to make the
 * program, but not in it), Deno, and the Debian packages. The same input gives the same bytes.
 *
 *     sbom.ts ROOT-FOLDER-OF-THE-IMAGE > sbom.cdx.json
 *
 * @module
 */

import { run } from "../commands.ts";

/** The part of a component of CycloneDX that is used here. */
interface Component {
  readonly type: "application" | "library" | "platform";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly scope?: "required" | "excluded";
  readonly hashes?: readonly { readonly alg: "SHA-512"; readonly content: string }[];
  readonly licenses?: readonly { readonly license: { readonly id: string } }[];
  readonly purl: string;
}

const [root = ""] = Deno.args;
const { name, version, license } = JSON.parse(Deno.readTextFileSync("deno.json"));
const program = component("application", name, version, npmUrl(name, version), licensed(license));
const release = Deno.version.deno;
const components = [
  ...await npmPackages(),
  component("platform", "deno", release, `pkg:github/denoland/deno@v${release}`, licensed("MIT")),
  ...debianPackages(),
].toSorted((a, b) => a.purl < b.purl ? -1 : 1);
const sbom = {
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  metadata: { component: program },
  components,
  dependencies: [{
    ref: program.purl,
    dependsOn: components.filter(({ scope }) => scope !== "excluded").map(({ purl }) => purl),
  }],
};
await Deno.stdout.write(new TextEncoder().encode(`${JSON.stringify(sbom, null, 2)}\n`));

function component(
  type: Component["type"],
  name: string,
  version: string,
  purl: string,
  more: Pick<Component, "scope" | "hashes" | "licenses"> = {},
): Component {
  return { type, "bom-ref": purl, name, version, ...more, purl };
}

async function npmPackages(): Promise<Component[]> {
  const { npm }: { readonly npm: Record<string, { readonly integrity: string }> } = JSON.parse(
    Deno.readTextFileSync("deno.lock"),
  );
  const { npmCache } = JSON.parse(await run(Deno.execPath(), "info", "--json"));
  const { modules, npmPackages }: {
    readonly modules: readonly { readonly npmPackage?: string }[];
    readonly npmPackages: Readonly<Record<string, { readonly dependencies: readonly string[] }>>;
  } = JSON.parse(await run(Deno.execPath(), "info", "--json", "main.ts"));
  const withDependencies = (
    id: string,
  ): string[] => [id, ...(npmPackages[id]?.dependencies ?? []).flatMap(withDependencies)];
  const inProgram = new Set(modules.flatMap(({ npmPackage }) => npmPackage ?? []).flatMap(withDependencies));
  const registries = [...Deno.readDirSync(npmCache)].map((registry) => `${npmCache}/${registry.name}`);
  return Object.entries(npm).map(([id, { integrity }]) => {
    const [, name = "", version = ""] = /^(.+)@([^@]+)$/.exec(id) ?? [];
    return component("library", name, version, npmUrl(name, version), {
      scope: inProgram.has(id) ? "required" : "excluded",
      hashes: [{ alg: "SHA-512", content: Uint8Array.fromBase64(integrity.replace("sha512-", "")).toHex() }],
      ...licensed(licenseOf(registries.map((registry) => `${registry}/${name}/${version}/package.json`))),
    });
  });
}

function npmUrl(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

/** What the first of these descriptions of a package that is there says. */
function licenseOf(paths: readonly string[]): string | undefined {
  for (const path of paths) {
    try {
      return JSON.parse(Deno.readTextFileSync(path)).license;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
}

function licensed(id: string | undefined): Pick<Component, "licenses"> {
  return id === undefined ? {} : { licenses: [{ license: { id } }] };
}

function debianPackages(): Component[] {
  const release = field(Deno.readTextFileSync(`${root}/etc/os-release`), /^VERSION_ID="(.*)"$/m);
  const folder = `${root}/var/lib/dpkg/status.d`;
  return [...Deno.readDirSync(folder)].map(({ name }) => {
    const control = Deno.readTextFileSync(`${folder}/${name}`);
    const [version, architecture] = [field(control, /^Version: (.*)$/m), field(control, /^Architecture: (.*)$/m)];
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-${release}`;
    return component("library", name, version, purl);
  });
}

function field(text: string, pattern: RegExp): string {
  const [, value] = pattern.exec(text) ?? [];
  if (value === undefined) throw new Error(`Cannot find ${pattern} in ${JSON.stringify(text.slice(0, 100))}`);
  return value;
}

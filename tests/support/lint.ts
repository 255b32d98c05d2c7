/**
 * The project's own lint rules: what reaches outside the program does so in one named place, and imports go in the direction of
 * the data only. Only tests and build scripts are free.
 *
 * @module
 */

/** Members of `Deno`, and the files that may use them. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  args: ["main.ts"],
  exit: ["main.ts"],
  env: ["lib/rights.ts"],
  Command: ["lib/node/system_commands.ts"],
};

/** The folders and files of lib/, the lowest first. Each may import itself and what is lower; those of one line do not know each other. */
const LAYERS: readonly (readonly string[])[] = [
  ["lib/text.ts", "lib/version.ts", "lib/clock.ts"],
  ["lib/ip.ts", "lib/log/"],
  ["lib/config/"],
  ["lib/desired/"],
  ["lib/node/"],
  ["lib/reconcile/"],
  ["lib/daemon/", "lib/report/", "lib/rights.ts"],
  ["lib/run.ts"],
  ["main.ts"],
];

const ROOT = new URL("../../", import.meta.url);

const plugin: Deno.lint.Plugin = {
  name: "edges",
  rules: {
    "only-at-the-edges": {
      create(context) {
        return {
          MemberExpression(node) {
            if (node.object.type !== "Identifier" || node.object.name !== "Deno") return;
            if (node.property.type !== "Identifier") return;
            const member = node.property.name;
            const places = Object.hasOwn(PLACES, member) ? PLACES[member] : undefined;
            const file = inProject(context.filename);
            if (places === undefined || places.includes(file) || /^(tests|\.ci)\//.test(file)) return;
            context.report({ node, message: `Deno.${member} is for ${places.join(" and ")} only` });
          },
        };
      },
    },
    "imports-go-downwards": {
      create(context) {
        const from = inProject(context.filename);
        const check = (node: Deno.lint.Node, specifier: unknown) => {
          if (typeof specifier !== "string" || !specifier.startsWith(".")) return;
          const to = inProject(new URL(specifier, new URL(from, ROOT)).pathname);
          const [importer, imported] = [placeOf(from), placeOf(to)];
          if (importer === undefined || imported === undefined || importer.part === imported.part) return;
          if (imported.layer < importer.layer) return;
          context.report({ node, message: `${importer.part} must not import ${to}: imports go downwards only` });
        };
        return {
          ImportDeclaration: (node) => check(node, node.source.value),
          ExportNamedDeclaration: (node) => check(node, node.source?.value),
          ExportAllDeclaration: (node) => check(node, node.source.value),
          ImportExpression: (node) => check(node, node.source.type === "Literal" ? node.source.value : undefined),
        };
      },
    },
  },
};

function inProject(path: string): string {
  return path.replace(ROOT.pathname, "");
}

function placeOf(file: string): { readonly part: string; readonly layer: number } | undefined {
  for (const [layer, parts] of LAYERS.entries()) {
    const part = parts.find((part) => part.endsWith("/") ? file.startsWith(part) : file === part);
    if (part !== undefined) return { part, layer };
  }
  return undefined;
}

export default plugin;
